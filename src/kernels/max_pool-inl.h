// Max pooling of rows of channels, and its gradient; the sources that include this compile it once per target.
#if defined(FACET_KERNELS_MAX_POOL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FACET_KERNELS_MAX_POOL_INL_H_
#undef FACET_KERNELS_MAX_POOL_INL_H_
#else
#define FACET_KERNELS_MAX_POOL_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/lanes-inl.h"
#include "kernels/max_pool.h"

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

using IntTag = hn::RebindToSigned<FloatTag>;
using Ints = hn::Vec<IntTag>;

/// A range of rows or columns, of images or of pooled images.
struct Extent {
  std::int64_t begin, end;
};

/// The part of window `out` that lies in an image of this extent, without the padding.
HWY_INLINE Extent window_of(const MaxPoolShape& pool, std::int64_t out, std::int64_t extent) {
  const std::int64_t begin = out * pool.stride - pool.padding;
  return {std::max<std::int64_t>(begin, 0), std::min(begin + pool.kernel, extent)};
}

/// The windows, of `count`, in which row or column `at` lies.
HWY_INLINE Extent windows_with(const MaxPoolShape& pool, std::int64_t at, std::int64_t count) {
  const std::int64_t padded = at + pool.padding;
  const std::int64_t first = padded < pool.kernel ? 0 : (padded - pool.kernel) / pool.stride + 1;
  return {first, std::min(padded / pool.stride + 1, count)};
}

HWY_INLINE void store_bytes(Ints values, std::uint8_t* to, std::size_t count) {
  const hn::Rebind<std::uint8_t, IntTag> tag;
  const auto bytes = hn::DemoteTo(tag, values);
  if (count >= lanes()) return hn::StoreU(bytes, tag, to);
  std::uint8_t padded[hn::MaxLanes(FloatTag())];
  hn::StoreU(bytes, tag, padded);
  std::copy_n(padded, count, to);
}

/// The maxima of a window: the first of equal ones, and NaN where there is one, as in PyTorch.
class Maxima {
 public:
  HWY_INLINE Maxima()
      : values_(hn::Set(FloatTag(), -std::numeric_limits<float>::infinity())),
        indices_(hn::Set(IntTag(), int{no_gradient})) {}

  HWY_INLINE void take(Floats value, std::int64_t index) {
    const auto larger = hn::Or(hn::Gt(value, values_), hn::IsNaN(value));
    values_ = hn::IfThenElse(larger, value, values_);
    indices_ = hn::IfThenElse(hn::RebindMask(IntTag(), larger), hn::Set(IntTag(), static_cast<int>(index)), indices_);
  }

  /// The activation of the maxima. As it is monotonic, these are the maxima of the activations too.
  HWY_INLINE Floats activated(Activation activation) const { return activate(values_, activation); }

  HWY_INLINE Ints indices(Activation activation) const {
    if (activation == Activation::none) return indices_;
    auto flat = hn::Le(values_, hn::Zero(FloatTag()));
    if (activation == Activation::relu6) flat = hn::Or(flat, hn::Ge(values_, six()));
    return hn::IfThenElse(hn::RebindMask(IntTag(), flat), hn::Set(IntTag(), int{no_gradient}), indices_);
  }

 private:
  Floats values_;
  Ints indices_;
};

/// Computes the pooled rows [begin, end), of all images one after the other.
/// @param value value(row, c, n) is what is pooled: `n` channels from c on of a row of the images.
/// @param indices receives the indices of the maxima, {rows, channels}.
template <class T, class Value>
HWY_INLINE void max_pool_rows(const MaxPoolShape& pool, std::int64_t channels, std::int64_t begin, std::int64_t end,
                              Activation activation, T* y, std::uint8_t* indices, const Value& value) {
  for (std::int64_t out = begin; out < end; ++out) {
    const std::int64_t image = out / (pool.out_height * pool.out_width);
    const std::int64_t out_y = out / pool.out_width % pool.out_height, out_x = out % pool.out_width;
    const Extent rows = window_of(pool, out_y, pool.height), columns = window_of(pool, out_x, pool.width);
    const std::int64_t top = out_y * pool.stride - pool.padding, left = out_x * pool.stride - pool.padding;
    for_each_vector(channels, [&](std::int64_t c, std::size_t n) FACET_VECTOR_BODY {
      Maxima maxima;
      for (std::int64_t row = rows.begin; row < rows.end; ++row) {
        for (std::int64_t column = columns.begin; column < columns.end; ++column) {
          maxima.take(value((image * pool.height + row) * pool.width + column, c, n),
                      (row - top) * pool.kernel + column - left);
        }
      }
      store(maxima.activated(activation), y + out * channels + c, n);
      store_bytes(maxima.indices(activation), indices + out * channels + c, n);
    });
  }
}

/// to[i] = diff[i] where indices[i] is `index`, else 0.
template <class T>
HWY_INLINE void select_index(const T* diff, const std::uint8_t* indices, std::int64_t index, std::int64_t count,
                             T* to) {
  const hn::ScalableTag<T> tag;
  const hn::RebindToUnsigned<decltype(tag)> bits;
  const hn::Rebind<std::uint8_t, decltype(tag)> bytes;
  const auto step = static_cast<std::int64_t>(hn::Lanes(tag));
  const auto wanted = hn::Set(bits, static_cast<hn::TFromD<decltype(bits)>>(index));
  std::int64_t i = 0;
  for (; i + step <= count; i += step) {
    const auto found = hn::PromoteTo(bits, hn::LoadU(bytes, indices + i));
    const auto taken = hn::IfThenElseZero(hn::Eq(found, wanted), hn::BitCast(bits, hn::LoadU(tag, diff + i)));
    hn::StoreU(hn::BitCast(tag, taken), tag, to + i);
  }
  for (; i < count; ++i) to[i] = indices[i] == index ? diff[i] : T{0};
}

/// Computes the gradient with respect to the rows [begin, end) of the images, without gaps, from the one with respect
/// to the pooled rows.
template <class T>
HWY_NOINLINE void max_pool_gradient_rows(const MaxPoolShape& pool, std::int64_t channels, const T* diff_y,
                                         const std::uint8_t* indices, std::int64_t begin, std::int64_t end, T* to) {
  for (std::int64_t at = begin; at < end; ++at, to += channels) {
    const std::int64_t image = at / (pool.height * pool.width);
    const std::int64_t row = at / pool.width % pool.height, column = at % pool.width;
    const Extent down = windows_with(pool, row, pool.out_height), across = windows_with(pool, column, pool.out_width);
    const auto window = [&](std::int64_t y, std::int64_t x) {
      return ((image * pool.out_height + y) * pool.out_width + x) * channels;
    };
    const auto index = [&](std::int64_t y, std::int64_t x) {
      return (row + pool.padding - y * pool.stride) * pool.kernel + column + pool.padding - x * pool.stride;
    };
    const std::int64_t windows = std::max<std::int64_t>(down.end - down.begin, 0) * (across.end - across.begin);
    if (windows <= 0) {
      std::fill_n(to, channels, T{0});
    } else if (windows == 1) {
      const std::int64_t i = window(down.begin, across.begin);
      select_index(diff_y + i, indices + i, index(down.begin, across.begin), channels, to);
    } else {
      for_each_vector(channels, [&](std::int64_t c, std::size_t n) FACET_VECTOR_BODY {
        Floats sum = hn::Zero(FloatTag());
        for (std::int64_t y = down.begin; y < down.end; ++y) {
          for (std::int64_t x = across.begin; x < across.end; ++x) {
            const std::int64_t i = window(y, x) + c;
            const auto passes = hn::Eq(load(indices + i, n), hn::Set(FloatTag(), static_cast<float>(index(y, x))));
            sum = hn::Add(sum, hn::IfThenElseZero(passes, load(diff_y + i, n)));
          }
        }
        store(sum, to + c, n);
      });
    }
  }
}

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
