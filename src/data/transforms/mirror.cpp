#include "data/transforms/mirror.h"

#include <algorithm>
#include <cstddef>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "data/transforms/mirror.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace facet::data::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

/// Does nothing: MirrorRow mirrors all pixels one by one.
void MirrorBlocks(std::uint8_t*&, std::uint8_t*&) {}

#else

/// Exchanges blocks of pixels from both ends, [left, right), as long as there are two.
HWY_INLINE void MirrorBlocks(std::uint8_t*& left, std::uint8_t*& right) {
  constexpr std::ptrdiff_t block = 16 * 3;
  const hn::FixedTag<std::uint8_t, 16> u8;
  const auto backwards = hn::Sub(hn::Set(u8, 15), hn::Iota(u8, 0));
  const auto write = [&](auto r, auto g, auto b, std::uint8_t* out) HWY_ATTR {
    hn::StoreInterleaved3(hn::TableLookupBytes(r, backwards), hn::TableLookupBytes(g, backwards),
                          hn::TableLookupBytes(b, backwards), u8, out);
  };
  for (; right - left >= 2 * block; left += block, right -= block) {
    hn::Vec<decltype(u8)> left_r, left_g, left_b, right_r, right_g, right_b;
    hn::LoadInterleaved3(u8, left, left_r, left_g, left_b);
    hn::LoadInterleaved3(u8, right - block, right_r, right_g, right_b);
    write(left_r, left_g, left_b, right - block);
    write(right_r, right_g, right_b, left);
  }
}

#endif

void MirrorRow(std::uint8_t* row, int width) {
  std::uint8_t *left = row, *right = row + std::ptrdiff_t{width} * 3;
  MirrorBlocks(left, right);
  for (; right - left >= 6; left += 3, right -= 3) std::swap_ranges(left, left + 3, right - 3);
}

}  // namespace facet::data::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::data {

HWY_EXPORT(MirrorRow);

void mirror(std::span<std::uint8_t> pixels, int width) {
  const std::size_t row_bytes = static_cast<std::size_t>(width) * 3;
  for (std::size_t row = 0; row < pixels.size(); row += row_bytes) {
    HWY_DYNAMIC_DISPATCH(MirrorRow)(&pixels[row], width);
  }
}

}  // namespace facet::data
#endif
