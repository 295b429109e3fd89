#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/winograd.cpp"
#include "kernels/winograd.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/winograd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

const Winograd& winograd_f32() {
  static constexpr Winograd all = winograd::winograd_with<winograd::F32Products>();
  return all;
}

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace facet::kernels {

HWY_EXPORT(winograd_f32);

const Winograd& winograd_kernels(WinogradProducts products) {
  if (products == WinogradProducts::bf16) return *winograd_bf16();
  return HWY_DYNAMIC_DISPATCH(winograd_f32)();
}

bool has_winograd(WinogradProducts products) { return products == WinogradProducts::f32 || winograd_bf16() != nullptr; }

}  // namespace facet::kernels
#endif
