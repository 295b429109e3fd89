#include "facet/precision.h"

#include <fmt/format.h>

#include "base/machine.h"
#include "facet/error.h"
#include "onednn/onednn.h"

namespace facet {

PrecisionChoice parse_precision(std::string_view text) {
  if (text == "auto") return PrecisionChoice::automatic;
  if (text == "f32") return PrecisionChoice::f32;
  if (text == "bf16") return PrecisionChoice::bf16;
  throw Error(fmt::format("precision '{}' found; allowed: auto, f32, bf16", text));
}

bool has_native_bf16() { return onednn::has_native_bf16(); }

void require_precision(Precision precision) {
  to_string(precision);  // throws for what is none
  if (precision == Precision::bf16 && !has_native_bf16()) {
    throw Error(fmt::format("precision bf16 can't be had: {} ({}) with {} computes none natively; use f32",
                            base::cpu_model(), onednn::instructions(), onednn::version()));
  }
}

}  // namespace facet
