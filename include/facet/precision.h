#pragma once

#include <string>
#include <string_view>

#include "facet/export.h"
#include "facet/tensor_types.h"

namespace facet {

/// What a user may ask for; `automatic` takes what is fastest on this CPU.
enum class PrecisionChoice : std::uint8_t { automatic, f32, bf16 };

/// Of "auto", "f32" or "bf16". @throws Error naming the value and those allowed.
FACET_EXPORT PrecisionChoice parse_precision(std::string_view text);

/// @throws Error when it is neither f32 nor bf16, or when bf16 is asked for and this CPU, or the oneDNN at hand,
/// computes none natively.
FACET_EXPORT void require_precision(Precision precision);

/// Whether this CPU and the oneDNN at hand compute in bf16 natively.
FACET_EXPORT bool has_native_bf16();

}  // namespace facet
