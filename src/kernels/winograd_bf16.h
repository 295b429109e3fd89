#pragma once

#include "kernels/winograd.h"

namespace facet::kernels {

/// Winograd with products of bf16; null where the CPU, or the limit of instructions, has no bf16 dot product.
const Winograd* winograd_bf16();

}  // namespace facet::kernels
