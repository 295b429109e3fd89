#pragma once

#include "ops/network.h"

namespace facet::testing {

/// How far parameters are moved, and how far the slope found so may be from the gradient.
struct DifferenceOptions {
  double step = 0.02;       ///< length of the move
  double tolerance = 1e-3;  ///< share of the gradient's length (along it), or of its rms (one element)
};

/// Holds every trainable parameter's gradient against central differences of the loss (of fourth order, from two
/// steps): along the gradient itself, and for its largest and some random elements. Batch, step (so the masks of
/// dropout) and running statistics are the same for all runs.
void check_gradients(const Problem& problem, Parameters& parameters, const DifferenceOptions& options = {});
/// With random parameters.
void check_gradients(const Problem& problem, const DifferenceOptions& options = {});

}  // namespace facet::testing
