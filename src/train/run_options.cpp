#include "train/run_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "data/labels.h"
#include "facet/error.h"

namespace facet {
namespace train {
namespace {

constexpr const char* data_key = "training data";

void require(bool allowed, std::string_view option, double value, std::string_view allowed_values) {
  if (!allowed) throw Error(fmt::format("{} is {}; {} is allowed", option, value, allowed_values));
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

bool is_positive(double value) { return std::isfinite(value) && value > 0; }

void check_schedule(const TrainOptions& options) {
  const LearningRateSchedule& schedule = options.schedule;
  to_string(schedule.kind);  // throws for a value that is not a schedule
  const auto epochs = static_cast<double>(options.epochs);
  require(schedule.warmup_epochs >= 0 && schedule.warmup_epochs < epochs, "warmup_epochs", schedule.warmup_epochs,
          fmt::format("0 up to below the run's {} epochs", options.epochs));
  if (schedule.warmup_epochs > 0 && schedule.kind == LearningRateSchedule::Kind::one_cycle) {
    throw Error(fmt::format("warmup_epochs is {}; 0 is allowed with the schedule one-cycle, which warms up itself",
                            schedule.warmup_epochs));
  }
  require(schedule.warmup_factor > 0 && schedule.warmup_factor <= 1, "warmup_factor", schedule.warmup_factor,
          "above 0 up to 1");
  require(schedule.step_size >= 1, "step_size", static_cast<double>(schedule.step_size), "1 or more");
  require(is_positive(schedule.gamma), "gamma", schedule.gamma, "a number above 0");
  require(schedule.eta_min >= 0 && schedule.eta_min <= options.learning_rate, "eta_min", schedule.eta_min,
          fmt::format("0 up to the learning rate, {},", options.learning_rate));
  require(schedule.pct_start >= 0 && schedule.pct_start <= 1, "pct_start", schedule.pct_start, "0 up to 1");
  require(is_positive(schedule.div_factor), "div_factor", schedule.div_factor, "a number above 0");
  require(is_positive(schedule.final_div_factor), "final_div_factor", schedule.final_div_factor, "a number above 0");
  require(schedule.max_momentum >= 0 && schedule.max_momentum < 1, "max_momentum", schedule.max_momentum,
          "0 up to below 1");
  require(schedule.base_momentum >= 0 && schedule.base_momentum <= schedule.max_momentum, "base_momentum",
          schedule.base_momentum, fmt::format("0 up to max_momentum, {},", schedule.max_momentum));
}

void check_weights(const TrainOptions& options) {
  for (const auto& [head, weight] : options.head_weights) {
    require(is_positive(weight), fmt::format("head_weights of {}", head), weight, "a number above 0");
  }
  for (const auto& [head, weights] : options.class_weights) {
    double sum = 0;
    for (const double weight : weights.values) {
      require(std::isfinite(weight) && weight >= 0, fmt::format("class_weights of {}", head), weight, "0 or more");
      sum += weight;
    }
    if (weights.balanced != weights.values.empty() || (!weights.balanced && sum == 0)) {
      throw Error(
          fmt::format("class_weights of {}: either balanced or a number a class, not all of them 0, is allowed", head));
    }
  }
}

std::string text_of(const std::map<std::string, ClassWeights>& by_head) {
  std::vector<std::string> texts;
  for (const auto& [head, weights] : by_head) {
    texts.push_back(
        fmt::format("{}={}", head, weights.balanced ? "balanced" : fmt::format("{}", fmt::join(weights.values, ","))));
  }
  return fmt::format("{}", fmt::join(texts, " "));
}

std::string text_of(const std::map<std::string, double>& by_head) {
  std::vector<std::string> texts;
  for (const auto& [head, weight] : by_head) texts.push_back(fmt::format("{}={}", head, weight));
  return fmt::format("{}", fmt::join(texts, " "));
}

}  // namespace
}  // namespace train

void check_options(const TrainOptions& options) {
  using train::check_schedule, train::check_weights, train::is_positive, train::require;
  require(options.epochs >= 1, "epochs", static_cast<double>(options.epochs), "1 or more");
  require(options.batch >= 1, "batch", static_cast<double>(options.batch), "1 or more");
  require(is_positive(options.learning_rate), "learning_rate", options.learning_rate, "a number above 0");
  require(options.beta1 >= 0 && options.beta1 < 1, "beta1", options.beta1, "0 up to below 1");
  require(options.beta2 >= 0 && options.beta2 < 1, "beta2", options.beta2, "0 up to below 1");
  require(is_positive(options.eps), "eps", options.eps, "a number above 0");
  require(options.momentum >= 0 && options.momentum < 1, "momentum", options.momentum, "0 up to below 1");
  require(std::isfinite(options.weight_decay) && options.weight_decay >= 0, "weight_decay", options.weight_decay,
          "0 or more");
  require(is_positive(options.trust_coefficient), "trust_coefficient", options.trust_coefficient, "a number above 0");
  if (options.nesterov && (options.optimizer != OptimizerKind::sgd || options.momentum == 0)) {
    throw Error("nesterov is on without SGD's momentum; it is allowed with the optimizer sgd and a momentum above 0");
  }
  check_schedule(options);
  require(options.label_smoothing >= 0 && options.label_smoothing < 1, "label_smoothing", options.label_smoothing,
          "0 up to below 1");
  check_weights(options);
  require(options.accumulate >= 1, "accumulate", static_cast<double>(options.accumulate), "1 or more");
  require(std::isfinite(options.clip_norm) && options.clip_norm >= 0, "clip_norm", options.clip_norm, "0 or more");
  require(options.ema_decay >= 0 && options.ema_decay < 1, "ema_decay", options.ema_decay, "0 up to below 1");
  if (options.split_head.layer.empty() && !options.split_head.heads.empty()) {
    throw Error(fmt::format("split_head has the head {} and no layer; the layer that is split is needed",
                            options.split_head.heads.front().head.name));
  }
  if (options.pretrained.empty() && !options.split_head.layer.empty()) {
    throw Error(fmt::format("split_head names the layer {} without pretrained, the weights that have it",
                            options.split_head.layer));
  }
  require(options.patience >= 0, "patience", static_cast<double>(options.patience), "0 or more");
  require(options.keep >= 0, "keep", options.keep, "0 or more");
  require(std::isfinite(options.checkpoint_minutes) && options.checkpoint_minutes >= 0, "checkpoint_minutes",
          options.checkpoint_minutes, "0 or more");
}

namespace train {

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
  return fmt::format("{:016x}", sum);
}

namespace {

/// The fixed options that don't depend on the data set.
nlohmann::ordered_json recipe_of(const TrainOptions& options) {
  nlohmann::ordered_json fixed{{"batch", options.batch},
                               {"optimizer", to_string(options.optimizer)},
                               {"learning_rate", options.learning_rate},
                               {"schedule", to_string(options.schedule.kind)},
                               {"schedule's epochs", options.schedule.follows_epochs() ? options.epochs : 0},
                               {"warmup_epochs", options.schedule.warmup_epochs},
                               {"warmup_factor", options.schedule.warmup_factor},
                               {"step_size", options.schedule.step_size},
                               {"gamma", options.schedule.gamma},
                               {"eta_min", options.schedule.eta_min},
                               {"pct_start", options.schedule.pct_start},
                               {"div_factor", options.schedule.div_factor},
                               {"final_div_factor", options.schedule.final_div_factor},
                               {"beta1", options.beta1},
                               {"beta2", options.beta2},
                               {"eps", options.eps},
                               {"momentum", options.momentum},
                               {"nesterov", options.nesterov},
                               {"trust_coefficient", options.trust_coefficient},
                               {"weight_decay", options.weight_decay},
                               {"bias_decay", options.bias_decay},
                               {"label_smoothing", options.label_smoothing},
                               {"class_weights", text_of(options.class_weights)},
                               {"head_weights", text_of(options.head_weights)},
                               {"accumulate", options.accumulate},
                               {"clip_norm", options.clip_norm},
                               {"ema_decay", options.ema_decay},
                               {"freeze", fmt::format("{}", fmt::join(options.freeze, " "))},
                               {"seed", options.seed},
                               {"flip", options.flip},
                               {"drop_last", options.drop_last}};
  if (options.schedule.kind == LearningRateSchedule::Kind::one_cycle) {  // other schedules don't use them
    fixed["cycle_momentum"] = options.schedule.cycle_momentum;
    fixed["base_momentum"] = options.schedule.base_momentum;
    fixed["max_momentum"] = options.schedule.max_momentum;
  }
  return fixed;
}

/// The values of options that the records of earlier versions lack.
nlohmann::ordered_json defaults() {
  TrainOptions options;
  options.schedule.kind = LearningRateSchedule::Kind::one_cycle;
  nlohmann::ordered_json all = recipe_of(options);
  all.update(recipe_of({}));
  return all;
}

}  // namespace

nlohmann::ordered_json fixed_options(const TrainOptions& options, Precision precision, const Dataset& train) {
  nlohmann::ordered_json fixed = recipe_of(options);
  fixed["precision"] = to_string(precision);
  fixed["training images"] = train.size();
  fixed[data_key] = fingerprint(train);
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
    refuse(file, option, found->dump(), value.dump());
  }
}

void require_same_model(const std::string& file, const ModelInfo& recorded, const ModelInfo& asked) {
  if (recorded.model != asked.model) refuse(file, "model", recorded.model, asked.model);
  if (recorded.size != asked.size) refuse(file, "size", std::to_string(recorded.size), std::to_string(asked.size));
  if (recorded.resize != asked.resize) refuse(file, "resize", to_string(recorded.resize), to_string(asked.resize));
  const auto shape_text = [](const std::string& shape) { return shape.empty() ? "default" : shape; };
  if (recorded.shape != asked.shape) refuse(file, "shape", shape_text(recorded.shape), shape_text(asked.shape));
  try {
    data::require_heads(recorded.heads, asked.heads, "what is asked for");
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}; a run to be resumed can't change its heads{}", file, error.what(), instead(file)));
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
