#pragma once

#include <vector>

#include "train/option_row.h"

namespace facet::train {

/// The table of training options: the rows of train_options(), in the same order, with what only the library needs.
const std::vector<OptionRow>& option_table();

}  // namespace facet::train
