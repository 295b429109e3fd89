#include "kernels/adaptive_average_pool.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/random.h"
#include "each_cpu_isa.h"
#include "kernels/pixels.h"

using namespace facet;
using kernels::AdaptivePoolShape;

namespace {

std::vector<float> random_values(std::int64_t count) {
  base::RandomStream random(5, base::Purpose::synthesis);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = random.normal();
  return values;
}

/// Calls visit(element of x, element of y, values in y's window) for each x in the window of each y.
template <class Visit>
void for_each_pair(const AdaptivePoolShape& s, const Visit& visit) {
  const auto begin = [](std::int64_t i, std::int64_t count, std::int64_t extent) {
    return static_cast<std::int64_t>(std::floor(static_cast<double>(i * extent) / static_cast<double>(count)));
  };
  const auto end = [](std::int64_t i, std::int64_t count, std::int64_t extent) {
    return static_cast<std::int64_t>(std::ceil(static_cast<double>((i + 1) * extent) / static_cast<double>(count)));
  };
  for (std::int64_t n = 0; n < s.images; ++n)
    for (std::int64_t oy = 0; oy < s.out_height; ++oy)
      for (std::int64_t ox = 0; ox < s.out_width; ++ox) {
        const std::int64_t top = begin(oy, s.out_height, s.height), bottom = end(oy, s.out_height, s.height);
        const std::int64_t left = begin(ox, s.out_width, s.width), right = end(ox, s.out_width, s.width);
        for (std::int64_t y = top; y < bottom; ++y)
          for (std::int64_t x = left; x < right; ++x)
            for (std::int64_t c = 0; c < s.channels; ++c) {
              const std::int64_t from = ((n * s.height + y) * s.width + x) * s.channels + c;
              const std::int64_t to = ((n * s.out_height + oy) * s.out_width + ox) * s.channels + c;
              visit(static_cast<std::size_t>(from), static_cast<std::size_t>(to),
                    static_cast<double>((bottom - top) * (right - left)));
            }
      }
}

void check_near(const std::vector<float>& values, const std::vector<double>& expected, double tolerance) {
  REQUIRE(values.size() == expected.size());
  double largest = 0;
  for (std::size_t i = 0; i < values.size(); ++i) largest = std::max(largest, std::abs(values[i] - expected[i]));
  CHECK(largest <= tolerance);
}

std::vector<std::uint16_t> to_bf16(const std::vector<float>& values) {
  std::vector<std::uint16_t> rounded(values.size());
  std::transform(values.begin(), values.end(), rounded.begin(), nearest_bf16);
  return rounded;
}

std::vector<float> from_bf16(const std::vector<std::uint16_t>& values) {
  std::vector<float> result(values.size());
  std::transform(values.begin(), values.end(), result.begin(), float_of_bf16);
  return result;
}

void check_shape(const AdaptivePoolShape& s) {
  const auto inputs = s.images * s.height * s.width * s.channels;
  const auto outputs = s.images * s.out_height * s.out_width * s.channels;
  const std::vector<std::uint16_t> x = to_bf16(random_values(inputs)), diff_y = to_bf16(random_values(outputs));
  const std::vector<float> x_f32 = from_bf16(x), diff_y_f32 = from_bf16(diff_y);
  std::vector<double> y(diff_y.size()), diff_x(x.size());
  for_each_pair(s, [&](std::size_t from, std::size_t to, double values) {
    y[to] += x_f32[from] / values;
    diff_x[from] += diff_y_f32[to] / values;
  });
  for_each_cpu_isa([&] {
    std::vector<float> y_f32(y.size(), NAN), diff_x_f32(diff_x.size(), NAN);
    kernels::adaptive_average_pool_forward(s, x_f32.data(), y_f32.data());
    kernels::adaptive_average_pool_backward(s, diff_y_f32.data(), diff_x_f32.data());
    check_near(y_f32, y, 1e-6);
    check_near(diff_x_f32, diff_x, 1e-5);  // sums of up to all outputs
    std::vector<std::uint16_t> y_bf16(y.size()), diff_x_bf16(diff_x.size());
    kernels::adaptive_average_pool_forward(s, x.data(), y_bf16.data());
    kernels::adaptive_average_pool_backward(s, diff_y.data(), diff_x_bf16.data());
    CHECK(y_bf16 == to_bf16(y_f32));
    CHECK(diff_x_bf16 == to_bf16(diff_x_f32));
  });
}

}  // namespace

TEST_CASE("adaptive_average_pool: means over windows and their gradients agree with the definition") {
  SUBCASE("windows that don't overlap") { check_shape({2, 19, 12, 6, 6, 6}); }
  SUBCASE("overlapping windows of different sizes") { check_shape({2, 16, 13, 7, 6, 5}); }
  SUBCASE("a smaller input, whose values are repeated") { check_shape({3, 5, 1, 4, 6, 6}); }
  SUBCASE("equal extents") { check_shape({1, 8, 3, 4, 3, 4}); }
  SUBCASE("to one pixel") { check_shape({2, 33, 7, 5, 1, 1}); }
}
