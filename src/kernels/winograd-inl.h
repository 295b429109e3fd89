// Winograd's kernels for one kind of products; the sources that include this compile it once per target.
#if defined(FACET_KERNELS_WINOGRAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef FACET_KERNELS_WINOGRAD_INL_H_
#undef FACET_KERNELS_WINOGRAD_INL_H_
#else
#define FACET_KERNELS_WINOGRAD_INL_H_
#endif

#include "kernels/winograd_backward_weights-inl.h"
#include "kernels/winograd_forward-inl.h"
#include "kernels/winograd_weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace facet::kernels::HWY_NAMESPACE {

namespace winograd {
namespace {

template <class P>
constexpr Winograd winograd_with() {
  return {.weights_size = weights_size<P>,
          .transform_weights = transform_all_weights<P>,
          .forward_scratch = forward_scratch<P>,
          .forward = forward<P, float>,
          .forward_bf16 = forward<P, std::uint16_t>,
          .backward_weights_scratch = backward_weights_scratch<P>,
          .backward_weights = backward_weights<P, float>,
          .backward_weights_bf16 = backward_weights<P, std::uint16_t>};
}

}  // namespace
}  // namespace winograd

}  // namespace facet::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
