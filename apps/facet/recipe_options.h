#pragma once

#include <vector>

#include "facet/train.h"
#include "options.h"

namespace facet::app {

/// The options of a recipe: how weights are updated, and how fast. Their fallbacks are those of TrainOptions.
std::vector<OptionGroup> recipe_options();

/// Reads them into `training`. @throws UsageError naming the option whose value can't be meant.
void read_recipe(const Options& options, TrainOptions& training);

}  // namespace facet::app
