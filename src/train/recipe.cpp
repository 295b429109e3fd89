#include "train/recipe.h"

#include <fmt/format.h>

#include "facet/error.h"

namespace facet {

std::string_view to_string(OptimizerKind kind) {
  switch (kind) {
    case OptimizerKind::adam:
      return "adam";
    case OptimizerKind::adamw:
      return "adamw";
    case OptimizerKind::sgd:
      return "sgd";
  }
  return "unknown";
}

OptimizerKind parse_optimizer(std::string_view text) {
  for (const OptimizerKind kind : {OptimizerKind::adam, OptimizerKind::adamw, OptimizerKind::sgd}) {
    if (text == to_string(kind)) return kind;
  }
  throw Error(fmt::format("optimizer '{}' found; allowed: adam, adamw, sgd", text));
}

namespace train {

std::unique_ptr<optim::Optimizer> make_optimizer(const TrainOptions& options) {
  const optim::WeightDecay decay{.rate = options.weight_decay, .of_vectors = options.bias_decay};
  if (options.optimizer == OptimizerKind::sgd) {
    return optim::sgd({.momentum = options.momentum, .nesterov = options.nesterov, .weight_decay = decay});
  }
  const optim::AdamOptions adam{
      .beta1 = options.beta1, .beta2 = options.beta2, .eps = options.eps, .weight_decay = decay};
  return options.optimizer == OptimizerKind::adamw ? optim::adamw(adam) : optim::adam(adam);
}

}  // namespace train
}  // namespace facet
