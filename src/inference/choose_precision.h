#pragma once

#include <functional>
#include <string>

#include "facet/precision.h"

namespace facet::inference {

struct ChosenPrecision {
  Precision precision = Precision::f32;
  std::string note;  ///< one line on what was measured; empty when nothing was
};

/// What a choice comes to on this machine. `automatic` is f32 where bf16 isn't native, elsewhere the faster by
/// measurement; bf16 must win by 5 % to pay for its rounding.
/// @param seconds times a batch in a precision.
/// @throws Error when bf16 is asked for and can't be had.
ChosenPrecision choose_precision(PrecisionChoice choice, const std::function<double(Precision)>& seconds);

}  // namespace facet::inference
