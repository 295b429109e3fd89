#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/adaptive_average_pool.cpp"
#include "kernels/adaptive_average_pool.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <functional>

#include "base/parallel.h"
#include "kernels/lanes-inl.h"

#ifndef FACET_KERNELS_ADAPTIVE_AVERAGE_POOL_TYPES
#define FACET_KERNELS_ADAPTIVE_AVERAGE_POOL_TYPES
namespace facet::kernels {

struct Extents {
  std::int64_t height, width;
};

/// One direction of the op: reads `from`, writes `to`.
struct Pass {
  std::int64_t channels;
  Extents from, to;
  bool backward;  ///< divides by the window size of the element read; otherwise by that of the one written
};

}  // namespace facet::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

template <class T>
HWY_INLINE void write_pixel(const Pass& pass, const T* image, std::int64_t y, std::int64_t x, T* to) {
  const AdaptiveWindow rows = adaptive_window(y, pass.to.height, pass.from.height);
  const AdaptiveWindow columns = adaptive_window(x, pass.to.width, pass.from.width);
  for_each_vector(pass.channels, [&](std::int64_t channel, std::size_t n) FACET_VECTOR_BODY {
    Floats sum = hn::Zero(FloatTag());
    for (std::int64_t r = rows.begin; r < rows.end; ++r) {
      const auto height = pass.backward ? adaptive_window(r, pass.from.height, pass.to.height).size() : rows.size();
      for (std::int64_t c = columns.begin; c < columns.end; ++c) {
        const auto width = pass.backward ? adaptive_window(c, pass.from.width, pass.to.width).size() : columns.size();
        const Floats value = load(image + (r * pass.from.width + c) * pass.channels + channel, n);
        sum = hn::Add(sum, hn::Div(value, hn::Set(FloatTag(), static_cast<float>(height * width))));
      }
    }
    store(sum, to + channel, n);
  });
}

template <class T>
HWY_INLINE void write_rows(const Pass& pass, const T* from, T* to, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) {
    const T* image = from + row / pass.to.height * pass.from.height * pass.from.width * pass.channels;
    for (std::int64_t x = 0; x < pass.to.width; ++x) {
      write_pixel(pass, image, row % pass.to.height, x, to + (row * pass.to.width + x) * pass.channels);
    }
  }
}

void write_rows_f32(const Pass& pass, const float* from, float* to, std::int64_t begin, std::int64_t end) {
  write_rows(pass, from, to, begin, end);
}
void write_rows_bf16(const Pass& pass, const std::uint16_t* from, std::uint16_t* to, std::int64_t begin,
                     std::int64_t end) {
  write_rows(pass, from, to, begin, end);
}

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::kernels {

HWY_EXPORT(write_rows_f32);
HWY_EXPORT(write_rows_bf16);

namespace {

Pass forward_pass(const AdaptivePoolShape& s) {
  return {s.channels, {s.height, s.width}, {s.out_height, s.out_width}, false};
}
Pass backward_pass(const AdaptivePoolShape& s) {
  return {s.channels, {s.out_height, s.out_width}, {s.height, s.width}, true};
}

void run(const Pass& pass, std::int64_t images, const float* from, float* to) {
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(write_rows_f32)(pass, from, to, begin, end);
  };
  base::parallel_for(images * pass.to.height, 1, std::ref(body));
}

void run(const Pass& pass, std::int64_t images, const std::uint16_t* from, std::uint16_t* to) {
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(write_rows_bf16)(pass, from, to, begin, end);
  };
  base::parallel_for(images * pass.to.height, 1, std::ref(body));
}

}  // namespace

void adaptive_average_pool_forward(const AdaptivePoolShape& shape, const float* x, float* y) {
  run(forward_pass(shape), shape.images, x, y);
}
void adaptive_average_pool_forward(const AdaptivePoolShape& shape, const std::uint16_t* x, std::uint16_t* y) {
  run(forward_pass(shape), shape.images, x, y);
}
void adaptive_average_pool_backward(const AdaptivePoolShape& shape, const float* diff_y, float* diff_x) {
  run(backward_pass(shape), shape.images, diff_y, diff_x);
}
void adaptive_average_pool_backward(const AdaptivePoolShape& shape, const std::uint16_t* diff_y,
                                    std::uint16_t* diff_x) {
  run(backward_pass(shape), shape.images, diff_y, diff_x);
}

}  // namespace facet::kernels
#endif
