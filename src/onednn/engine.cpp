#include <fmt/format.h>

#include "facet/error.h"
#include "onednn/onednn.h"

namespace facet::onednn {

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

std::string version() {
  const dnnl_version_t* linked = dnnl_version();
  return fmt::format("oneDNN {}.{}.{}", linked->major, linked->minor, linked->patch);
}

std::string threading() {
  switch (const unsigned runtime = dnnl_version()->cpu_runtime) {
    case DNNL_RUNTIME_SEQ:
      return "one thread";
    case DNNL_RUNTIME_OMP:
      return "OpenMP";
    case DNNL_RUNTIME_TBB:
      return "oneTBB";
    default:
      return fmt::format("runtime {}", runtime);
  }
}

namespace {

struct NamedIsa {
  dnnl_cpu_isa_t isa;
  const char* name;
};

constexpr NamedIsa known_isas[] = {
    {dnnl_cpu_isa_sse41, "sse41"},
    {dnnl_cpu_isa_avx, "avx"},
    {dnnl_cpu_isa_avx2, "avx2"},
    {dnnl_cpu_isa_avx2_vnni, "avx2_vnni"},
    {dnnl_cpu_isa_avx512_core, "avx512_core"},
    {dnnl_cpu_isa_avx512_core_vnni, "avx512_core_vnni"},
    {dnnl_cpu_isa_avx512_core_bf16, "avx512_core_bf16"},
    {dnnl_cpu_isa_avx512_core_amx, "avx512_core_amx"},
};

bool includes(dnnl_cpu_isa_t whole, dnnl_cpu_isa_t part) {
  return (static_cast<unsigned>(whole) & static_cast<unsigned>(part)) == static_cast<unsigned>(part);
}

}  // namespace

void set_max_cpu_isa(std::string_view limit) {
  dnnl_cpu_isa_t isa{};
  if (limit == "avx2") {
    isa = dnnl_cpu_isa_avx2;
  } else if (limit == "avx512") {
    isa = dnnl_cpu_isa_avx512_core_vnni;
  } else if (limit == "avx512_bf16") {
    isa = dnnl_cpu_isa_avx512_core_bf16;
  } else {
    throw Error(fmt::format("CPU ISA '{}': avx2, avx512 and avx512_bf16 are allowed", limit));
  }
  if (dnnl_set_max_cpu_isa(isa) != dnnl_success) {
    throw Error(fmt::format("oneDNN can't be limited to {}: it is in use already", limit), ErrorCode::in_use);
  }
}

bool has_native_bf16() { return includes(dnnl_get_effective_cpu_isa(), dnnl_cpu_isa_avx512_core_bf16); }

unsigned cpu_isa_bits() { return static_cast<unsigned>(dnnl_get_effective_cpu_isa()); }

std::string effective_cpu_isa() {
  const dnnl_cpu_isa_t effective = dnnl_get_effective_cpu_isa();
  std::string best = "none";
  for (const NamedIsa& known : known_isas) {
    if (includes(effective, known.isa)) best = known.name;
  }
  return best;
}

}  // namespace facet::onednn
