#pragma once

#include <string_view>

#include "facet/export.h"

namespace facet {

/// Limits this process to instruction sets up to `limit`, oneDNN's primitives and facet's own kernels alike: "avx2",
/// "avx512" or "avx512_bf16". For measuring and testing what other machines would do; a limit above what the CPU has
/// changes nothing. Before anything else of facet is used, on one thread.
/// @throws Error naming the value and those allowed, or when oneDNN has been used already.
FACET_EXPORT void limit_instructions(std::string_view limit);

}  // namespace facet
