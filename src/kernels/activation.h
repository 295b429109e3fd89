#pragma once

#include <cstdint>

namespace facet::kernels {

/// The last operation on a value: none, max(value, 0), or min(max(value, 0), 6).
enum class Activation : std::uint8_t { none, relu, relu6 };

}  // namespace facet::kernels
