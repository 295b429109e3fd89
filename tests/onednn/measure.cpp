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

TEST_CASE("measure: returns seconds, more for more work, with any best time so far") {
  const base::ComputeScope scope(1);
  const double infinity = std::numeric_limits<double>::infinity();
  const double little = seconds_of_copying(8, infinity), much = seconds_of_copying(4096, infinity);
  CHECK(little > 0);
  CHECK(much > 4 * little);
  CHECK(much < 60);
  // The measurement of a much slower primitive is abandoned, but still doesn't report it as faster than the best.
  CHECK(seconds_of_copying(4096, little / 100) > little / 100);
}

}  // namespace facet::onednn
