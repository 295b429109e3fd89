#pragma once

#include <boost/program_options.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "facet/image.h"

/// The command line of the bench executables.
namespace facet::bench {

/// The model and step to be measured, and the settings under which they run.
struct WorkloadOptions {
  std::string model = "reference", precision = "f32", mode = "training", max_cpu_isa, threads = "0";
  std::int64_t batch = 64;
  ImageSize size = 224;
  bool pin = false;
  bool no_tune = false;
  bool save_memory = false;
};

void add_options(boost::program_options::options_description& description, WorkloadOptions& options);
/// @throws Error naming the option, what was found and what is allowed.
void require_good(const WorkloadOptions& options);
/// Returns the thread counts of --threads, in its order; at least one. @throws Error when --threads is malformed.
std::vector<int> thread_counts(const WorkloadOptions& options);
/// @throws Error naming the option when its value is below `low` or above `high`.
void require_within(const std::string& option, std::int64_t value, std::int64_t low, std::int64_t high);

/// Parses the command line. Only options that are spelt in full are accepted; --help prints the description and exits.
/// @throws Error, or an exception of Boost, for an invalid option or value.
void read_words(int argc, char** argv, const boost::program_options::options_description& description);

}  // namespace facet::bench
