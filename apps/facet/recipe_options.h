#pragma once

#include <vector>

#include "facet/train.h"
#include "options.h"

namespace facet::app {

/// The options of a recipe: how weights are updated, how fast, towards what, averaged, and how long. Their fallbacks
/// are those of TrainOptions.
std::vector<OptionGroup> recipe_options();

/// Reads them into `training`. @throws UsageError naming the option whose value can't be meant.
void read_recipe(const Options& options, TrainOptions& training);

/// What `--class-weights balanced` means, once the heads are known.
void balance_other_heads(const Options& options, const std::vector<Head>& heads, TrainOptions& training);

}  // namespace facet::app
