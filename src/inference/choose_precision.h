#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "facet/graph.h"
#include "facet/model_file.h"
#include "facet/precision.h"

namespace facet::inference {

struct ChosenPrecision {
  Precision precision = Precision::f32;
  std::string note = {};  ///< one line on what was measured; empty when nothing was
  bool measured = false;  ///< both were: what was decided holds another time too
};

/// What a choice comes to on this machine. `automatic` is f32 where bf16 isn't native, elsewhere as choose_faster says.
/// @param seconds times a batch in a precision; may throw Error.
/// @throws Error when bf16 is asked for and can't be had, or what is asked for is none of PrecisionChoice.
ChosenPrecision choose_precision(PrecisionChoice choice, const std::function<double(Precision)>& seconds);

/// The faster by measurement; bf16 must win by 5 % to pay for its rounding. It is measured first, since it takes less
/// memory; where one throws Error, as for lack of memory, the other is taken.
/// @throws Error with both messages when both do.
ChosenPrecision choose_faster(const std::function<double(Precision)>& seconds);

/// What a remembered choice for a model is called by: all of the model, batch and threads that decides it.
std::string measured_precision_key(const ModelInfo& info, const Graph& graph, std::int64_t batch, int threads);

}  // namespace facet::inference
