#pragma once

#include <boost/program_options.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "facet/image.h"
#include "facet/train_options.h"

/// The command line of the bench executables.
namespace facet::bench {

constexpr int most_images = 65536;  ///< of a batch

/// The model and step to be measured, and the settings under which they run.
struct WorkloadOptions {
  std::string model = "reference", precision = "f32", mode = "training", max_cpu_isa, threads = "0";
  std::int64_t batch = 64;
  ImageSize size = 224;
  bool pin = false;
  bool no_tune = false;
  bool save_memory = false;
};

/// Adds the options of a workload.
void add_options(boost::program_options::options_description& description, WorkloadOptions& options);
/// Those of them that mean the same in all executables: all but mode, batch, threads and pin.
void add_model_options(boost::program_options::options_description& description, WorkloadOptions& options);
/// Adds --size, the size of the images that a model takes.
void add_size(boost::program_options::options_description& description, ImageSize& size);
/// Adds the options of `facet train` that change images at random; parsing sets the members of `training` that they
/// name.
void add_augmentation_options(boost::program_options::options_description& description, TrainOptions& training);
/// Returns words of a command line that give those members the values that differ from the defaults: "--augment light".
std::string augmentation_words(const TrainOptions& training);
/// @throws Error naming the option, what was found and what is allowed.
void require_good(const WorkloadOptions& options);
/// Returns the thread counts of --threads, in its order; at least one. @throws Error when --threads is malformed.
std::vector<int> thread_counts(const WorkloadOptions& options);
/// Returns a whole number from `low` to `high`. @throws Error naming the option.
int read_number(const std::string& option, const std::string& text, int low, int high);
/// Returns whole numbers from `low` to `high` that are separated by commas; at least one. @throws Error naming the
/// option.
std::vector<int> read_numbers(const std::string& option, const std::string& text, int low, int high);
/// Adds an option whose value is a whole number from `low` to `high`; for another one, parsing throws Error.
template <class Integer>
void add_number(boost::program_options::options_description& description, const char* name, Integer& value, int low,
                int high, const char* help) {
  const auto read = [=, &value](const std::string& text) { value = read_number(name, text, low, high); };
  description.add_options()(
      name, boost::program_options::value<std::string>()->default_value(std::to_string(value))->notifier(read), help);
}
/// @throws Error naming the option when its value isn't one of those allowed.
void require_one_of(const std::string& option, const std::string& value, const std::vector<std::string>& allowed);
/// @throws Error naming the option when its value is below `low` or above `high`.
void require_within(const std::string& option, std::int64_t value, std::int64_t low, std::int64_t high);

/// Parses the command line. Only options that are spelt in full are accepted; --help prints the description and exits.
/// @throws Error, or an exception of Boost, for an invalid option or value.
void read_words(int argc, char** argv, const boost::program_options::options_description& description);

}  // namespace facet::bench
