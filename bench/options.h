#pragma once

#include <boost/program_options.hpp>
#include <cstdint>
#include <string>
#include <vector>

/// The command line of the bench executables.
namespace facet::bench {

/// Which step of which model is measured, and on what.
struct WorkloadOptions {
  std::string model = "reference", precision = "f32", mode = "training", instructions, threads = "0";
  std::int64_t batch = 64;
  int size = 224;
  bool pin = false;
  bool no_tune = false;
  bool save_memory = false;
};

void add_options(boost::program_options::options_description& description, WorkloadOptions& options);
/// @throws Error naming the option, what was found and what is allowed.
void require_good(const WorkloadOptions& options);
/// The counts of threads that --threads asks for, in its order, at least one. @throws Error.
std::vector<int> thread_counts(const WorkloadOptions& options);
/// @throws Error naming the option when its value is below `low` or above `high`.
void require_within(const std::string& option, std::int64_t value, std::int64_t low, std::int64_t high);

/// Takes options spelt in full, and nothing else; --help prints the description and exits.
/// @throws Error, or an exception of Boost's, for what can't be taken.
void read_words(int argc, char** argv, const boost::program_options::options_description& description);

}  // namespace facet::bench
