#pragma once

#include <string_view>
#include <vector>

namespace facet::kernels {

/// Limits the kernels of this process to instruction sets up to `limit`: "avx2", "avx512" or "avx512_bf16"; "" lifts
/// the limit. A limit above what the CPU has changes nothing. Not while a kernel runs in another thread.
/// @throws Error naming the value and those allowed.
void limit_instructions(std::string_view limit);

/// The instruction sets that the kernels are compiled for, in ascending order: of "baseline" (what every CPU of the
/// architecture has), "avx2", "avx512", "avx512_bf16" and "avx512_amx".
std::vector<std::string_view> compiled_instructions();

/// The last of those that the CPU has, within the limit.
std::string_view used_instructions();

/// Whether the CPU, within the limit, sums products of bf16 pairs in one instruction (AVX-512 with bf16).
bool has_bf16_dot_product();

/// Whether the limit, if there is one, allows AMX.
bool amx_allowed();

}  // namespace facet::kernels
