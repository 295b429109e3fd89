#pragma once

#include <memory>

#include "facet/train.h"
#include "optim/optimizer.h"

namespace facet::train {

// What the options of a recipe come to.

std::unique_ptr<optim::Optimizer> make_optimizer(const TrainOptions& options);

}  // namespace facet::train
