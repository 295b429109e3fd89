#include "program/choose_precision.h"

#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include "facet/error.h"
#include "facet/graph.h"
#include "facet/ops.h"

using namespace facet;
using program::choose_faster;
using program::choose_precision;
using program::Tuning;

namespace {

/// Times of a batch in one precision.
struct Times {
  double untuned, tuned;
};

/// A machine with these times, which lists what is measured on it.
struct Machine {
  Times bf16, f32;
  std::vector<std::string> measured = {};

  double operator()(Precision precision, Tuning tuning) {
    const bool tuned = tuning == Tuning::full;
    measured.push_back(std::string(to_string(precision)) + (tuned ? " tuned" : ""));
    const Times& times = precision == Precision::bf16 ? bf16 : f32;
    return tuned ? times.tuned : times.untuned;
  }
};

using Measured = std::vector<std::string>;

}  // namespace

TEST_CASE("a requested precision is used without measuring") {
  const auto never = [](Precision, Tuning) -> double { throw Error("measured"); };
  CHECK(choose_precision(PrecisionChoice::f32, Tuning::full, never).precision == Precision::f32);
  if (has_native_bf16()) {
    CHECK(choose_precision(PrecisionChoice::bf16, Tuning::full, never).precision == Precision::bf16);
  } else {
    CHECK_THROWS_AS(choose_precision(PrecisionChoice::bf16, Tuning::full, never), Error);
    CHECK(choose_precision(PrecisionChoice::automatic, Tuning::full, never).precision == Precision::f32);
  }
}

TEST_CASE("a value that isn't an enumerator of PrecisionChoice or Precision is refused") {
  const auto never = [](Precision, Tuning) -> double { throw Error("measured"); };
  CHECK_THROWS_WITH_AS(choose_precision(static_cast<PrecisionChoice>(77), Tuning::full, never),
                       doctest::Contains("precision 77"), Error);
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
  const auto chosen = [](Times bf16, Times f32) {
    Machine machine{bf16, f32};
    return choose_faster(Tuning::full, std::ref(machine));
  };
  const auto fast = chosen({0.7, 0.5}, {1.5, 1.0});
  CHECK(fast.precision == Precision::bf16);
  CHECK(fast.note == "precision bf16: a batch takes 500 ms in bf16, 1.5e+03 ms in f32 before tuning");
  CHECK(fast.measured);
  CHECK(chosen({1, 0.97}, {1, 1}).precision == Precision::f32);
  CHECK(chosen({1, 0.94}, {1, 1}).precision == Precision::bf16);
  CHECK(chosen({3, 2}, {1, 1}).precision == Precision::f32);
  // Tuning may turn the order around.
  CHECK(chosen({0.9, 0.9}, {1, 0.6}).precision == Precision::f32);
  CHECK(chosen({1, 0.5}, {0.9, 0.9}).precision == Precision::bf16);
  if (has_native_bf16()) {
    Machine machine{{0.5, 0.5}, {1, 1}};
    CHECK(choose_precision(PrecisionChoice::automatic, Tuning::full, std::ref(machine)).precision == Precision::bf16);
  }
}

TEST_CASE("a precision that tuning cannot make the faster one is not tuned") {
  const auto measured = [](Times bf16, Times f32, Tuning tuning = Tuning::full) {
    Machine machine{bf16, f32};
    choose_faster(tuning, std::ref(machine));
    return machine.measured;
  };
  CHECK(measured({0.5, 0.5}, {1.1, 0.6}) == Measured{"bf16", "f32", "bf16 tuned"});
  CHECK(measured({3, 2}, {1, 1}) == Measured{"bf16", "f32", "f32 tuned"});
  CHECK(measured({0.5, 0.5}, {0.9, 0.9}) == Measured{"bf16", "f32", "bf16 tuned", "f32 tuned"});
  CHECK(measured({1, 1}, {0.9, 0.8}) == Measured{"bf16", "f32", "f32 tuned", "bf16 tuned"});
  CHECK(measured({1, 1}, {0.9, 0.8}, Tuning::none) == Measured{"bf16", "f32"});

  Machine untuned{{0.5, 0.1}, {0.9, 0.1}};
  CHECK(choose_faster(Tuning::none, std::ref(untuned)).note ==
        "precision bf16: a batch takes 500 ms in bf16, 900 ms in f32");
}

TEST_CASE("automatic chooses the precision that fits where the other doesn't, and doesn't report it as measured") {
  for (const Tuning too_large : {Tuning::none, Tuning::full}) {
    const auto only = [too_large](Precision fits) {
      return [fits, too_large](Precision precision, Tuning tuning) {
        if (precision != fits && tuning == too_large) throw Error("not enough memory");
        return 1.0;
      };
    };
    const auto small = choose_faster(Tuning::full, only(Precision::bf16));
    CHECK(small.precision == Precision::bf16);
    CHECK(small.note == "precision bf16: not f32: not enough memory");
    CHECK(!small.measured);
    const auto large = choose_faster(Tuning::full, only(Precision::f32));
    CHECK(large.precision == Precision::f32);
    CHECK(large.note == "precision f32: not bf16: not enough memory");
    CHECK(!large.measured);
  }
  const auto neither = [](Precision precision, Tuning) -> double {
    throw Error(precision == Precision::bf16 ? "2 GB needed" : "4 GB needed");
  };
  CHECK_THROWS_WITH_AS(choose_faster(Tuning::full, neither), "in bf16: 2 GB needed; in f32: 4 GB needed", Error);
}
