#include <doctest/doctest.h>

#include "onednn/onednn.h"

namespace facet::onednn {

TEST_CASE("has_winograd reports whether oneDNN has Winograd's algorithm") {
  const Dims image{1, 32, 8, 8}, weights{32, 32, 3, 3}, one{1, 1};
  bool found = true;
  try {
    describe<dnnl::convolution_forward>(attributes(), dnnl::prop_kind::forward_inference,
                                        dnnl::algorithm::convolution_winograd, any(image, Type::f32),
                                        any(weights, Type::f32), any(image, Type::f32), one, one, one);
  } catch (const dnnl::error&) {
    found = false;
  }
  CHECK(has_winograd() == found);
  if (has_winograd()) CHECK(winograd() == dnnl::algorithm::convolution_winograd);
}

TEST_CASE("version and CPU ISA are named") {
  CHECK(version().rfind("oneDNN " + std::to_string(DNNL_VERSION_MAJOR) + ".", 0) == 0);
  CHECK(effective_cpu_isa() != "");
  if (has_native_bf16()) CHECK(effective_cpu_isa().rfind("avx512", 0) == 0);
}

}  // namespace facet::onednn
