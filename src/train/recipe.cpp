#include "train/recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "data/labels.h"
#include "facet/dataset.h"
#include "facet/error.h"
#include "facet/text.h"
#include "kernels/loss.h"

namespace facet {

namespace {

/// An update rule: its name, and how TrainOptions configure it.
struct OptimizerEntry {
  OptimizerKind kind;
  std::string_view name;
  std::unique_ptr<optim::Optimizer> (*make)(const TrainOptions& options, const optim::ParameterGroups& groups);
};

optim::AdamOptions adam_options(const TrainOptions& o, const optim::ParameterGroups& groups) {
  return {.beta1 = o.beta1, .beta2 = o.beta2, .eps = o.eps, .groups = groups};
}

using Groups = const optim::ParameterGroups&;
constexpr OptimizerEntry optimizers[] = {
    {OptimizerKind::adam, "adam",
     [](const TrainOptions& o, Groups groups) { return optim::adam(adam_options(o, groups)); }},
    {OptimizerKind::adamw, "adamw",
     [](const TrainOptions& o, Groups groups) { return optim::adamw(adam_options(o, groups)); }},
    {OptimizerKind::sgd, "sgd",
     [](const TrainOptions& o, Groups groups) {
       return optim::sgd({.momentum = o.momentum, .nesterov = o.nesterov, .groups = groups});
     }},
    {OptimizerKind::lars, "lars",
     [](const TrainOptions& o, Groups groups) {
       return optim::lars({.momentum = o.momentum, .trust_coefficient = o.trust_coefficient, .groups = groups});
     }},
    {OptimizerKind::lamb, "lamb",
     [](const TrainOptions& o, Groups groups) { return optim::lamb(adam_options(o, groups)); }},
};

std::string optimizer_names() {
  std::vector<std::string_view> names;
  for (const OptimizerEntry& entry : optimizers) names.push_back(entry.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

const OptimizerEntry& entry_of(OptimizerKind kind) {
  for (const OptimizerEntry& entry : optimizers) {
    if (entry.kind == kind) return entry;
  }
  throw Error(fmt::format("optimizer {} found; allowed: {}", static_cast<int>(kind), optimizer_names()));
}

}  // namespace

std::string_view to_string(OptimizerKind kind) { return entry_of(kind).name; }

OptimizerKind parse_optimizer(std::string_view text) {
  for (const OptimizerEntry& entry : optimizers) {
    if (entry.name == text) return entry.kind;
  }
  throw Error(fmt::format("optimizer '{}' found; allowed: {}", text, optimizer_names()));
}

namespace train {
namespace {

/// @throws Error unless every key of `by_head` is the name of a head.
template <class ByHead>
void require_heads_of(std::string_view option, const ByHead& by_head, const std::vector<Head>& heads) {
  const std::vector<std::string> names = names_of(heads);
  for (const auto& [name, value] : by_head) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    throw Error(fmt::format("{} has a head {}; the heads are {}", option, name, list_of(names)));
  }
}

}  // namespace

std::unique_ptr<optim::Optimizer> make_optimizer(const TrainOptions& options) {
  return entry_of(options.optimizer)
      .make(options, {.weight_decay = options.weight_decay,
                      .decays_vectors = options.bias_decay,
                      .max_fan_in = static_cast<double>(options.lr_fan_in)});
}

std::vector<double> balanced_weights(const Dataset& train, std::size_t head) {
  const Head& found = train.heads()[head];
  std::vector<double> images(found.classes.size());
  for (std::int64_t index = 0; index < train.size(); ++index) {
    data::require_labels(train.name(index), train.labels(index), train.heads());
    const std::int32_t label = train.labels(index)[head];
    if (label != no_label) ++images[static_cast<std::size_t>(label)];
  }
  const double labelled = std::accumulate(images.begin(), images.end(), 0.0);
  const auto seen = static_cast<double>(std::count_if(images.begin(), images.end(), [](double n) { return n > 0; }));
  if (labelled == 0)
    throw Error(fmt::format("class_weights of {}: no image has a label to balance by", found.name),
                ErrorCode::invalid_data);
  for (double& count : images) count = count > 0 ? labelled / (seen * count) : 0;
  return images;
}

std::vector<OptimizerKind> optimizer_kinds() {
  std::vector<OptimizerKind> kinds;
  for (const OptimizerEntry& entry : optimizers) kinds.push_back(entry.kind);
  return kinds;
}

std::map<std::string, ClassWeights> class_weights_by_head(const TrainOptions& options, const std::vector<Head>& heads) {
  std::map<std::string, ClassWeights> by_head = options.class_weights;
  const auto others = by_head.find("");
  if (others == by_head.end()) return by_head;
  for (const Head& head : heads) by_head.emplace(head.name, others->second);
  by_head.erase(others);
  return by_head;
}

std::vector<kernels::LossRule> make_loss_rules(const TrainOptions& options, const std::vector<Head>& heads,
                                               const Dataset* train) {
  const std::map<std::string, ClassWeights> class_weights = class_weights_by_head(options, heads);
  require_heads_of("class_weights", class_weights, heads);
  require_heads_of("head_weights", options.head_weights, heads);
  std::vector<kernels::LossRule> rules(heads.size());
  for (std::size_t head = 0; head < heads.size(); ++head) {
    rules[head].smoothing = options.label_smoothing;
    rules[head].mixes_labels = options.augmentation.mixes() && (train == nullptr || !train->has_targets(head));
    if (const auto found = options.head_weights.find(heads[head].name); found != options.head_weights.end()) {
      rules[head].weight = found->second;
    }
    const auto found = class_weights.find(heads[head].name);
    if (found == class_weights.end()) continue;
    const ClassWeights& asked = found->second;
    if (asked.balanced && train == nullptr) {
      throw Error(
          fmt::format("class_weights of {} are balanced, which needs a training set: balanced_class_weights() "
                      "gives their values",
                      heads[head].name));
    }
    rules[head].class_weights = asked.balanced ? balanced_weights(*train, head) : asked.values;
    if (rules[head].class_weights.size() != heads[head].classes.size()) {
      throw Error(fmt::format("class_weights of {}: {} numbers found; its {} classes need one each: {}",
                              heads[head].name, asked.values.size(), heads[head].classes.size(),
                              list_of(heads[head].classes)));
    }
  }
  return rules;
}

}  // namespace train
}  // namespace facet
