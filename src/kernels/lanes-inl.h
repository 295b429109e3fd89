// Vectors of floats, loaded from and stored to f32 and bf16, and loaded from pixels; the kernels' sources compile this
// once per target.
#if defined(FACET_KERNELS_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FACET_KERNELS_LANES_INL_H_
#undef FACET_KERNELS_LANES_INL_H_
#else
#define FACET_KERNELS_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/activation.h"

// Attributes of a lambda that is called for each vector: it uses the target's instructions and is always inlined.
#ifndef FACET_VECTOR_BODY
#define FACET_VECTOR_BODY HWY_ATTR __attribute__((always_inline))
#endif

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using BitsTag = hn::RebindToUnsigned<FloatTag>;
using Floats = hn::Vec<FloatTag>;

HWY_INLINE std::size_t lanes() { return hn::Lanes(FloatTag()); }

HWY_INLINE Floats load(const float* from) { return hn::LoadU(FloatTag(), from); }

/// Loads bf16.
HWY_INLINE Floats load(const std::uint16_t* from) {
  const auto half = hn::LoadU(hn::Rebind<std::uint16_t, FloatTag>(), from);
  return hn::BitCast(FloatTag(), hn::ShiftLeft<16>(hn::PromoteTo(BitsTag(), half)));
}

template <class Bytes>
HWY_INLINE Floats to_floats(Bytes bytes) {
  return hn::ConvertTo(FloatTag(), hn::PromoteTo(hn::RebindToSigned<FloatTag>(), bytes));
}

/// Loads 8-bit pixels.
HWY_INLINE Floats load(const std::uint8_t* from) {
  return to_floats(hn::LoadU(hn::Rebind<std::uint8_t, FloatTag>(), from));
}

HWY_INLINE void store(Floats values, float* to) { hn::StoreU(values, FloatTag(), to); }

/// Stores as bf16, rounded to nearest even; NaN keeps its sign and upper bits and is made quiet.
HWY_INLINE void store(Floats values, std::uint16_t* to) {
  const BitsTag tag;
  const auto bits = hn::BitCast(tag, values);
  const auto truncated = hn::ShiftRight<16>(bits);
  const auto half = hn::Add(hn::Set(tag, 0x7FFFU), hn::And(truncated, hn::Set(tag, 1U)));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, half));
  const auto quiet = hn::Or(truncated, hn::Set(tag, 0x40U));
  const auto result = hn::IfThenElse(hn::RebindMask(tag, hn::IsNaN(values)), quiet, rounded);
  const hn::Rebind<std::uint16_t, FloatTag> half_tag;
  hn::StoreU(hn::TruncateTo(half_tag, result), half_tag, to);
}

/// max(value, 0), but NaN stays NaN, so that it shows in the loss.
HWY_INLINE Floats relu(Floats value) { return hn::IfThenZeroElse(hn::Lt(value, hn::Zero(FloatTag())), value); }

HWY_INLINE Floats six() { return hn::Set(FloatTag(), 6.0F); }

HWY_INLINE Floats activate(Floats value, Activation activation) {
  if (activation == Activation::none) return value;
  value = relu(value);
  return activation == Activation::relu6 ? hn::IfThenElse(hn::Gt(value, six()), six(), value) : value;
}

/// Loads the first `count` lanes and sets the others to zero; memory beyond them isn't read.
template <class T>
HWY_INLINE Floats load(const T* from, std::size_t count) {
  if (count >= lanes()) return load(from);
  T padded[hn::MaxLanes(FloatTag())] = {};
  std::copy_n(from, count, padded);
  return load(padded);
}

template <class T>
HWY_INLINE void store(Floats values, T* to, std::size_t count) {
  if (count >= lanes()) return store(values, to);
  T padded[hn::MaxLanes(FloatTag())];
  store(values, padded);
  std::copy_n(padded, count, to);
}

/// Calls body(i, lanes()) for each full vector of [0, count) and body(i, rest) for the remaining elements.
template <class Body>
HWY_INLINE void for_each_vector(std::int64_t count, const Body& body) {
  const auto step = static_cast<std::int64_t>(lanes());
  std::int64_t i = 0;
  for (; i + step <= count; i += step) body(i, lanes());
  if (i < count) body(i, static_cast<std::size_t>(count - i));
}

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
