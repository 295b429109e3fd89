#include "ops/shape_rules.h"

#include <fmt/format.h>

#include "facet/error.h"

namespace facet::ops {

void require_inputs(const std::vector<Shape>& inputs, std::size_t count) {
  if (inputs.size() != count) throw Error(fmt::format("{} inputs found; {} are needed", inputs.size(), count));
}

const Shape& require_image(const Shape& shape) {
  if (shape.size() != 3)
    throw Error(fmt::format("shape {} found; {{channels, height, width}} is needed", to_string(shape)));
  return shape;
}

std::int64_t window_extent(std::int64_t extent, std::int64_t kernel, std::int64_t stride, std::int64_t padding) {
  constexpr std::int64_t max_value = std::int64_t{1} << 30;  // sums of such values don't overflow
  if (kernel < 1 || stride < 1 || padding < 0 || kernel > max_value || stride > max_value || padding > max_value) {
    throw Error(fmt::format("kernel {}, stride {}, padding {} found; at least 1, 1 and 0 and at most {} are allowed",
                            kernel, stride, padding, max_value));
  }
  if (extent + 2 * padding < kernel) {
    throw Error(fmt::format("a kernel of {} doesn't fit an extent of {} with padding {}", kernel, extent, padding));
  }
  return (extent + 2 * padding - kernel) / stride + 1;
}

}  // namespace facet::ops
