#pragma once

#include "ops/network.h"

namespace facet::testing {

/// The reference model without dropout, with heads of 9, 2 and 7 classes.
Graph reference_without_dropout(int size);

/// Its programs' options: ImageNet's normalisation.
program::ProgramOptions model_options(std::int64_t batch, program::Mode mode);

}  // namespace facet::testing
