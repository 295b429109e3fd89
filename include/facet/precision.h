#pragma once

#include <cstdint>
#include <string_view>

#include "facet/export.h"
#include "facet/tensor_types.h"

namespace facet {

/// The requested precision; `automatic` chooses the fastest on this CPU.
enum class PrecisionChoice : std::uint8_t { automatic, f32, bf16 };

/// Returns "auto", "f32" or "bf16". @throws Error when `choice` has another value.
FACET_EXPORT std::string_view to_string(PrecisionChoice choice);

/// Parses the text that to_string returns. @throws Error naming the value and those allowed.
FACET_EXPORT PrecisionChoice parse_precision(std::string_view text);

/// Checks that a precision is supported.
/// @throws Error when it is neither f32 nor bf16, or when it is bf16 and this CPU, or the installed oneDNN, doesn't
///   support it natively.
FACET_EXPORT void require_precision(Precision precision);

/// Returns whether this CPU and the installed oneDNN support bf16 natively.
FACET_EXPORT bool has_native_bf16();

}  // namespace facet
