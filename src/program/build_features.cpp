#include <fmt/format.h>
#include <fmt/ranges.h>

#include "data/decode.h"
#include "facet/version.h"
#include "kernels/targets.h"
#include "onednn/onednn.h"

namespace facet {

std::string_view version() { return FACET_VERSION; }

std::vector<BuildFeature> build_features() {
  return {{"primitives", fmt::format("{}, threads of {}; {} on this CPU", onednn::version(), onednn::threading(),
                                     onednn::instructions())},
          {"kernels", fmt::format("{}; {} on this CPU", fmt::join(kernels::compiled_instructions(), ", "),
                                  kernels::used_instructions())},
          {"image formats", fmt::format("JPEG ({}), PNG ({}), WebP ({})", data::jpeg_library(), data::png_library(),
                                        data::webp_library())}};
}

}  // namespace facet
