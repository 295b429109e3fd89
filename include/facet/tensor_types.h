#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "facet/export.h"

namespace facet {

/// Extents, outermost first. In a graph the batch is left out: an activation is {channels, height, width} or
/// {features}.
using Shape = std::vector<std::int64_t>;

/// The product of the extents; 1 for a scalar's empty shape. @throws Error when it is above 2^63 - 1.
FACET_EXPORT std::int64_t element_count(const Shape& shape);

/// "64x3x7x7"; "scalar" for an empty shape.
FACET_EXPORT std::string to_string(const Shape& shape);

/// Of a parameter as it is stored.
enum class DataType : std::uint8_t { f32, s64 };

/// The type in which activations are kept and convolutions and linear layers are computed. Parameters, batch
/// statistics, the loss and the optimiser's state are f32 in either.
enum class Precision : std::uint8_t { f32, bf16 };

/// "f32" or "bf16". @throws Error when it is neither.
FACET_EXPORT std::string to_string(Precision precision);

}  // namespace facet
