#include "train/run_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "data/labels.h"
#include "facet/error.h"
#include "facet/text.h"
#include "train/option_row.h"
#include "train/recipe.h"

namespace facet {
namespace {

void check_processes(const TrainOptions& options) {
  const int processes = options.processes.size();
  if (options.batch >= processes) return;
  throw Error(fmt::format("batch is {} in {} processes; one image for each, {} or more, is allowed", options.batch,
                          processes, processes));
}

void check_schedule(const TrainOptions& options) {
  const LearningRateSchedule& schedule = options.schedule;
  if (schedule.warmup_epochs >= static_cast<double>(options.epochs)) {
    throw Error(fmt::format("warmup_epochs is {}; 0 up to below the run's {} epochs is allowed", schedule.warmup_epochs,
                            options.epochs));
  }
  if (schedule.warmup_epochs > 0 && schedule.kind == LearningRateSchedule::Kind::one_cycle) {
    throw Error(fmt::format("warmup_epochs is {}; 0 is allowed with the schedule one-cycle, which warms up itself",
                            schedule.warmup_epochs));
  }
  if (const double peak = train::peak_learning_rate(options); schedule.eta_min > peak) {
    throw Error(fmt::format("eta_min is {}; 0 up to the learning rate, {}, is allowed", schedule.eta_min, peak));
  }
  if (schedule.base_momentum > schedule.max_momentum) {
    throw Error(fmt::format("base_momentum is {}; 0 up to max_momentum, {}, is allowed", schedule.base_momentum,
                            schedule.max_momentum));
  }
}

}  // namespace

void check_options(const TrainOptions& options) {
  for (const TrainOption& option : train_options()) option.check(options);
  if (options.nesterov && (options.optimizer != OptimizerKind::sgd || options.momentum == 0)) {
    throw Error("nesterov is on without SGD's momentum; it is allowed with the optimizer sgd and a momentum above 0");
  }
  check_augmentation(options.augmentation);
  check_processes(options);
  check_schedule(options);
  if (options.pretrained.empty() && !options.split_head.layer.empty()) {
    throw Error(fmt::format("split_head names the layer {} without pretrained, the weights that have it",
                            options.split_head.layer));
  }
}

namespace train {
namespace {

constexpr const char* data_key = "training data";
constexpr const char* sampler_key = "sampler";
constexpr const char* shuffled = "shuffled";

/// A text that is the same for samplers with the same first two epochs.
std::string sampler_text(const TrainOptions& options, const Dataset& train) {
  if (!options.sampler) return shuffled;
  std::vector<std::int64_t> order = options.sampler->order(train.size(), options.seed, 1);
  const std::vector<std::int64_t> second = options.sampler->order(train.size(), options.seed, 2);
  order.insert(order.end(), second.begin(), second.end());
  const std::string_view bytes(reinterpret_cast<const char*>(order.data()), order.size() * sizeof(order[0]));
  return fmt::format("{:016x}", base::hash(bytes));
}

/// The part of a message that says what to do instead of resuming the run of that checkpoint.
std::string instead(const std::string& file) {
  return fmt::format(": a new run from its weights can, by --pretrained {} --out NEW", file);
}

[[noreturn]] void refuse(const std::string& file, std::string_view option, std::string_view recorded,
                         std::string_view asked) {
  throw Error(fmt::format("{}: the run was started with {} {}, requested is {}; a run to be resumed can't change it{}",
                          file, option, recorded, asked, instead(file)));
}

/// The names of the heads whose classes are ordered.
std::string ordinal_heads(const std::vector<Head>& heads) {
  std::vector<std::string> names;
  for (const Head& head : heads) {
    if (head.ordinal) names.push_back(head.name);
  }
  return names.empty() ? "no heads" : list_of(names);
}

}  // namespace

std::int64_t epoch_images(const TrainOptions& options, const Dataset& train) {
  return options.sampler ? options.sampler->epoch_size(train.size()) : train.size();
}

std::string fingerprint(const Dataset& data) {
  // Each text is hashed with its length, so that texts which are split differently give different sums.
  std::uint64_t sum = 0;
  const auto add = [&sum](std::string_view text) {
    sum = base::hash(fmt::format("{:016x} {} {:016x}", sum, text.size(), base::hash(text)));
  };
  for (const Head& head : data.heads()) {
    add(head.name);
    for (const std::string& name : head.classes) add(name);
    add("");
  }
  for (std::int64_t image = 0; image < data.size(); ++image) {
    add(fmt::format("{}\n{}", fmt::join(data.labels(image), ","), data.name(image)));
  }
  for (std::size_t head = 0; head < data.heads().size(); ++head) {
    if (!data.has_targets(head)) continue;
    std::vector<float> values(data.heads()[head].classes.size());
    for (std::int64_t image = 0; image < data.size(); ++image) {
      std::ranges::fill(values, std::numeric_limits<float>::quiet_NaN());
      data.targets(image, head, values);
      add({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
    }
  }
  return fmt::format("{:016x}", sum);
}

namespace {

/// The fixed options of the table; the data set and the precision that was chosen are not among them.
nlohmann::ordered_json recipe_of(const TrainOptions& options) {
  nlohmann::ordered_json fixed;
  for (const OptionRow& row : option_table()) {
    if (row.record) row.record(options, fixed);
  }
  return fixed;
}

/// The values of options that the records of earlier versions lack.
nlohmann::ordered_json defaults() {
  TrainOptions options;
  options.schedule.kind = LearningRateSchedule::Kind::one_cycle;  // so that the options that only it records are there
  nlohmann::ordered_json all = recipe_of(options);
  all.update(recipe_of({}));
  all[sampler_key] = shuffled;
  return all;
}

}  // namespace

nlohmann::ordered_json recipe_options(const TrainOptions& options, Precision precision,
                                      const std::vector<Head>& heads) {
  TrainOptions asked = options;
  asked.class_weights = class_weights_by_head(options, heads);
  nlohmann::ordered_json fixed = recipe_of(asked);
  fixed["precision"] = to_string(precision);
  return fixed;
}

nlohmann::ordered_json fixed_options(const TrainOptions& options, Precision precision, const Dataset& train) {
  nlohmann::ordered_json fixed = recipe_options(options, precision, train.heads());
  fixed["training images"] = train.size();
  fixed[data_key] = fingerprint(train);
  fixed[sampler_key] = sampler_text(options, train);
  return fixed;
}

void require_same_options(const std::string& file, const nlohmann::ordered_json& recorded,
                          const nlohmann::ordered_json& asked) {
  nlohmann::ordered_json started = defaults();
  started.update(recorded);
  for (const auto& [option, value] : asked.items()) {
    const auto found = started.find(option);
    if (found == started.end() || *found == value) continue;
    if (option == data_key) {
      throw Error(
          fmt::format("{}: the training data have changed since the run was started (images' names or labels, "
                      "their order, or the classes); a run to be resumed can't change them{}",
                      file, instead(file)));
    }
    if (option == sampler_key) {
      throw Error(
          fmt::format("{}: the run was started with another sampler or other weights of its images; a run to be "
                      "resumed can't change them{}",
                      file, instead(file)));
    }
    refuse(file, option, found->dump(), value.dump());
  }
}

void require_same_in_all(comm::Communicator& group, const nlohmann::ordered_json& options) {
  if (group.is_alone()) return;
  std::string text = options.dump();
  group.broadcast(text);
  group.together([&] {
    const auto of_first = nlohmann::ordered_json::parse(text);
    for (const auto& [option, value] : options.items()) {
      if (!of_first.contains(option) || of_first.at(option) == value) continue;
      const bool is_data = option == data_key;
      throw Error(fmt::format("{} is {} here and {} in rank 0: all processes need the same options and data",
                              is_data ? "the hash of the training set's names and labels" : option, value.dump(),
                              of_first.at(option).dump()));
    }
  });
}

void require_same_model(const std::string& file, const ModelInfo& recorded, const ModelInfo& asked) {
  if (recorded.model != asked.model) refuse(file, "model", recorded.model, asked.model);
  if (recorded.size != asked.size) refuse(file, "size", to_string(recorded.size), to_string(asked.size));
  if (recorded.resize != asked.resize) refuse(file, "resize", to_string(recorded.resize), to_string(asked.resize));
  const auto shape_text = [](const std::string& shape) { return shape.empty() ? "default" : shape; };
  if (recorded.shape != asked.shape) refuse(file, "shape", shape_text(recorded.shape), shape_text(asked.shape));
  try {
    data::require_heads(recorded.heads, asked.heads, "what is asked for");
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}; a run to be resumed can't change its heads{}", file, error.what(), instead(file)),
                error.code());
  }
  if (ordinal_heads(recorded.heads) != ordinal_heads(asked.heads)) {
    refuse(file, "ordinal", ordinal_heads(recorded.heads), ordinal_heads(asked.heads));
  }
  const auto text = [](const std::array<float, 3>& values) {
    return fmt::format("{},{},{}", values[0], values[1], values[2]);
  };
  const Normalization &before = recorded.normalization, &now = asked.normalization;
  if (before.mean != now.mean) refuse(file, "mean", text(before.mean), text(now.mean));
  if (before.std != now.std) refuse(file, "std", text(before.std), text(now.std));
}

}  // namespace train
}  // namespace facet
