#include "facet/platform.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>

#include "comm/communicator.h"
#include "data/decode/decode.h"
#include "facet/error.h"
#include "facet/machine.h"
#include "facet/precision.h"
#include "kernels/targets.h"
#include "onednn/onednn.h"

namespace facet {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

}  // namespace

std::string_view version() { return FACET_VERSION; }

std::vector<BuildFeature> build_features() {
  return {{"primitives", fmt::format("{}, threads of {}; {} on this CPU", onednn::version(), onednn::threading(),
                                     onednn::effective_cpu_isa())},
          {"kernels", fmt::format("{}; {} on this CPU", fmt::join(kernels::compiled_cpu_isas(), ", "),
                                  kernels::effective_cpu_isa())},
          {"image formats", fmt::format("JPEG ({}), PNG ({}), WebP ({})", data::jpeg_library(), data::png_library(),
                                        data::webp_library())},
          {"MPI", comm::mpi_version()}};
}

void set_max_cpu_isa(std::string_view limit) {
  onednn::set_max_cpu_isa(limit);
  kernels::set_max_cpu_isa(limit);
}

std::filesystem::path user_cache_folder() {
  // The XDG Base Directory Specification requires that relative paths are ignored.
  const std::filesystem::path cache = environment("XDG_CACHE_HOME");
  if (cache.is_absolute()) return cache / "facet";
  const std::filesystem::path home = environment("HOME");
  return home.is_absolute() ? home / ".cache" / "facet" : std::filesystem::path();
}

std::string_view to_string(PrecisionChoice choice) {
  switch (choice) {
    case PrecisionChoice::automatic:
      return "auto";
    case PrecisionChoice::f32:
      return "f32";
    case PrecisionChoice::bf16:
      return "bf16";
  }
  throw Error(fmt::format("precision {} found; allowed: auto, f32, bf16", static_cast<int>(choice)));
}

PrecisionChoice parse_precision(std::string_view text) {
  for (const PrecisionChoice choice : {PrecisionChoice::automatic, PrecisionChoice::f32, PrecisionChoice::bf16}) {
    if (text == to_string(choice)) return choice;
  }
  throw Error(fmt::format("precision '{}' found; allowed: auto, f32, bf16", text));
}

bool has_native_bf16() { return onednn::has_native_bf16(); }

void require_precision(Precision precision) {
  to_string(precision);  // throws for an invalid value
  if (precision == Precision::bf16 && !has_native_bf16()) {
    throw Error(fmt::format("precision bf16 is not available: {} ({}) with {} does not compute in it natively; use f32",
                            cpu_model(), onednn::effective_cpu_isa(), onednn::version()),
                ErrorCode::unsupported);
  }
}

}  // namespace facet
