#pragma once

#include <string_view>

namespace facet::kernels {

/// Limits the kernels of this process to instruction sets up to `limit`: "avx2", "avx512" or "avx512_bf16"; "" lifts
/// the limit. A limit above what the CPU has changes nothing. Not while a kernel runs in another thread.
/// @throws Error naming the value and those allowed.
void limit_instructions(std::string_view limit);

}  // namespace facet::kernels
