#include "inference/choose_precision.h"

#include <doctest/doctest.h>

#include "facet/error.h"

using namespace facet;
using inference::choose_precision;

namespace {

/// Seconds of a machine on which bf16 takes `bf16` where f32 takes 1.
auto machine(double bf16) {
  return [bf16](Precision precision) { return precision == Precision::bf16 ? bf16 : 1.0; };
}

}  // namespace

TEST_CASE("what is asked for is taken without measuring") {
  const auto never = [](Precision) -> double { throw Error("measured"); };
  CHECK(choose_precision(PrecisionChoice::f32, never).precision == Precision::f32);
  if (has_native_bf16()) {
    CHECK(choose_precision(PrecisionChoice::bf16, never).precision == Precision::bf16);
  } else {
    CHECK_THROWS_AS(choose_precision(PrecisionChoice::bf16, never), Error);
    CHECK(choose_precision(PrecisionChoice::automatic, never).precision == Precision::f32);
  }
}

TEST_CASE("automatic takes what is faster, and f32 where it hardly matters") {
  if (!has_native_bf16()) {
    MESSAGE("left out: this CPU, or this oneDNN, computes no bf16");
    return;
  }
  const auto fast = choose_precision(PrecisionChoice::automatic, machine(0.5));
  CHECK(fast.precision == Precision::bf16);
  CHECK(fast.note == "precision bf16: a batch takes 500 ms in bf16, 1e+03 ms in f32");
  CHECK(choose_precision(PrecisionChoice::automatic, machine(0.97)).precision == Precision::f32);
  CHECK(choose_precision(PrecisionChoice::automatic, machine(2)).precision == Precision::f32);
}
