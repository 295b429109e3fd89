#include "facet/tensor_types.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "facet/error.h"

namespace facet {

std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) {
    if (!__builtin_mul_overflow(count, extent, &count)) continue;
    throw Error(fmt::format("shape {} has more elements than a 64-bit integer can count", to_string(shape)));
  }
  return count;
}

std::string to_string(const Shape& shape) {
  return shape.empty() ? "scalar" : fmt::format("{}", fmt::join(shape, "x"));
}

std::string to_string(Precision precision) {
  switch (precision) {
    case Precision::f32:
      return "f32";
    case Precision::bf16:
      return "bf16";
  }
  throw Error(fmt::format("precision is {}; f32 and bf16 are allowed", static_cast<int>(precision)));
}

}  // namespace facet
