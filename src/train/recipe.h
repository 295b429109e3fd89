#pragma once

#include <memory>
#include <vector>

#include "facet/train.h"
#include "kernels/kernels.h"
#include "optim/optimizer.h"

namespace facet::train {

// What the options of a recipe come to.

std::unique_ptr<optim::Optimizer> make_optimizer(const TrainOptions& options);

/// By head of the training set, whose labels decide what balances its classes.
/// @throws Error naming a head that there is none of, or one that has another number of classes.
std::vector<kernels::LossRule> make_loss_rules(const TrainOptions& options, const Dataset& train);

}  // namespace facet::train
