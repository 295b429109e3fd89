#pragma once

#include <string_view>
#include <vector>

namespace facet::kernels {

/// Limits the kernels of this process to the CPU ISA `limit`: "avx2", "avx512" or "avx512_bf16"; "" lifts the limit. A
/// limit above what the CPU has changes nothing. Must not be called while a kernel runs in another thread.
/// @throws Error naming the value and those allowed.
void set_max_cpu_isa(std::string_view limit);

/// The CPU ISAs that the kernels are compiled for, in ascending order, out of "baseline" (what every CPU of the
/// architecture has), "avx2", "avx512", "avx512_bf16" and "avx512_amx".
std::vector<std::string_view> compiled_cpu_isas();

/// The best of the compiled CPU ISAs that the CPU has, within the limit.
std::string_view effective_cpu_isa();

/// Whether the CPU, within the limit, sums products of bf16 pairs in one instruction (AVX-512 with bf16).
bool has_bf16_dot_product();

/// Whether the limit, if there is one, allows AMX.
bool amx_allowed();

}  // namespace facet::kernels
