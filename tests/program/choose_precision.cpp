#include "program/choose_precision.h"

#include <doctest/doctest.h>

#include "facet/error.h"
#include "facet/graph.h"
#include "facet/ops.h"

using namespace facet;
using program::choose_faster;
using program::choose_precision;

namespace {

/// Times of a machine on which a batch takes `bf16` seconds in bf16 and 1 second in f32.
auto machine(double bf16) {
  return [bf16](Precision precision) { return precision == Precision::bf16 ? bf16 : 1.0; };
}

}  // namespace

TEST_CASE("a requested precision is used without measuring") {
  const auto never = [](Precision) -> double { throw Error("measured"); };
  CHECK(choose_precision(PrecisionChoice::f32, never).precision == Precision::f32);
  if (has_native_bf16()) {
    CHECK(choose_precision(PrecisionChoice::bf16, never).precision == Precision::bf16);
  } else {
    CHECK_THROWS_AS(choose_precision(PrecisionChoice::bf16, never), Error);
    CHECK(choose_precision(PrecisionChoice::automatic, never).precision == Precision::f32);
  }
}

TEST_CASE("a value that isn't an enumerator of PrecisionChoice or Precision is refused") {
  const auto never = [](Precision) -> double { throw Error("measured"); };
  CHECK_THROWS_WITH_AS(choose_precision(static_cast<PrecisionChoice>(77), never), doctest::Contains("precision 77"),
                       Error);
  CHECK_THROWS_AS(require_precision(static_cast<Precision>(77)), Error);
}

TEST_CASE("what was measured holds for a model, its input's height and width, and its heads") {
  const auto key = [](std::int64_t height, std::int64_t width) {
    Graph graph;
    const Value x = flatten(graph.input({3, height, width}));
    softmax_cross_entropy(linear(x, {.features = 2}), "a");
    return program::measured_precision_key("m", "", graph, 8, 2);
  };
  CHECK(key(4, 6) == "precision of m with 146 parameters at 4x6 2 batch 8 threads 2");
  CHECK(key(6, 4) == "precision of m with 146 parameters at 6x4 2 batch 8 threads 2");
}

TEST_CASE("automatic chooses the faster precision, and f32 where the difference is small") {
  const auto fast = choose_faster(machine(0.5));
  CHECK(fast.precision == Precision::bf16);
  CHECK(fast.note == "precision bf16: a batch takes 500 ms in bf16, 1e+03 ms in f32");
  CHECK(fast.measured);
  CHECK(choose_faster(machine(0.97)).precision == Precision::f32);
  CHECK(choose_faster(machine(2)).precision == Precision::f32);
  if (has_native_bf16()) {
    CHECK(choose_precision(PrecisionChoice::automatic, machine(0.5)).precision == Precision::bf16);
  }
}

TEST_CASE("automatic chooses the precision that fits where the other doesn't, and doesn't report it as measured") {
  const auto only = [](Precision fits) {
    return [fits](Precision precision) {
      if (precision != fits) throw Error("not enough memory");
      return 1.0;
    };
  };
  const auto small = choose_faster(only(Precision::bf16));
  CHECK(small.precision == Precision::bf16);
  CHECK(small.note == "precision bf16: not f32: not enough memory");
  CHECK(!small.measured);
  const auto large = choose_faster(only(Precision::f32));
  CHECK(large.precision == Precision::f32);
  CHECK(large.note == "precision f32: not bf16: not enough memory");
  CHECK(!large.measured);
  const auto neither = [](Precision precision) -> double {
    throw Error(precision == Precision::bf16 ? "2 GB needed" : "4 GB needed");
  };
  CHECK_THROWS_WITH_AS(choose_faster(neither), "in bf16: 2 GB needed; in f32: 4 GB needed", Error);
}
