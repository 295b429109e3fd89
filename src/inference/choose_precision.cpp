#include "inference/choose_precision.h"

#include <fmt/format.h>

namespace facet::inference {

ChosenPrecision choose_precision(PrecisionChoice choice, const std::function<double(Precision)>& seconds) {
  if (choice == PrecisionChoice::automatic) {
    if (!has_native_bf16()) return {Precision::f32, ""};
    const double f32 = seconds(Precision::f32), bf16 = seconds(Precision::bf16);
    const Precision faster = bf16 < 0.95 * f32 ? Precision::bf16 : Precision::f32;
    return {faster, fmt::format("precision {}: a batch takes {:.3g} ms in bf16, {:.3g} ms in f32", to_string(faster),
                                1e3 * bf16, 1e3 * f32)};
  }
  const Precision asked = choice == PrecisionChoice::bf16 ? Precision::bf16 : Precision::f32;
  require_precision(asked);
  return {asked, ""};
}

}  // namespace facet::inference
