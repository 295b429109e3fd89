#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "base/parallel.h"
#include "onednn/onednn.h"

namespace facet::onednn {
namespace {

double seconds_of_copying(std::int64_t rows, double best) {
  const Layout from = plain({rows, 1024}, Type::f32), to = tagged({rows, 1024}, Type::f32, Tag::ba);
  const auto descriptor = reorder(from, to);
  return measure(dnnl::reorder(descriptor),
                 {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, descriptor.scratchpad_desc()}}, best);
}

}  // namespace

TEST_CASE("measure: seconds, more for more work, whatever the best so far") {
  const base::ComputeScope scope(1);
  const double infinity = std::numeric_limits<double>::infinity();
  const double little = seconds_of_copying(8, infinity), much = seconds_of_copying(4096, infinity);
  CHECK(little > 0);
  CHECK(much > 4 * little);
  CHECK(much < 60);
  // Far behind the best: given up, but still not taken for faster than it.
  CHECK(seconds_of_copying(4096, little / 100) > little / 100);
}

}  // namespace facet::onednn
