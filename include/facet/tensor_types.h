#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "facet/export.h"

namespace facet {

/// The extents of a tensor, outermost first. Graphs leave out the batch: an activation is {channels, height, width} or
/// {features}.
using Shape = std::vector<std::int64_t>;

/// Returns the product of the extents; 1 for a scalar's empty shape. @throws Error when it is above 2^63 - 1.
FACET_EXPORT std::int64_t element_count(const Shape& shape);

/// Returns a text such as "64x3x7x7"; "scalar" for an empty shape.
FACET_EXPORT std::string to_string(const Shape& shape);

/// The type in which a parameter is stored.
enum class DataType : std::uint8_t { f32, s64 };

/// The type in which activations are kept and convolutions and linear layers are computed. Parameters, batch
/// statistics, the loss and the optimiser's state are f32 in both cases.
enum class Precision : std::uint8_t { f32, bf16 };

/// Returns "f32" or "bf16". @throws Error when `precision` has another value.
FACET_EXPORT std::string to_string(Precision precision);

}  // namespace facet
