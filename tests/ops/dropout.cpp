#include <doctest/doctest.h>

#include "facet/error.h"
#include "ops/masks.h"
#include "ops/network.h"

namespace facet::testing {
namespace {

Body dropout_at(float rate) {
  return [rate](Value x) { return dropout(x, rate); };
}

}  // namespace

TEST_CASE("dropout: drops the requested share and scales the rest") {
  for (const float rate : {0.1F, 0.5F, 0.8F}) {
    CAPTURE(rate);
    MaskedNetwork network(dropout_at(rate), 16, 1024);
    const std::vector<float> inputs = network.inputs(), outputs = network.outputs();
    std::int64_t dropped = 0;
    bool exact = true;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i] == 0) {
        ++dropped;
      } else {
        exact = exact && std::abs(outputs[i] - inputs[i] / (1 - rate)) <= 2e-6 * std::abs(outputs[i]) + 1e-6;
      }
    }
    CHECK(exact);
    const auto count = static_cast<double>(outputs.size());
    CHECK(std::abs(static_cast<double>(dropped) / count - rate) < 5 * std::sqrt(rate * (1 - rate) / count));
    CHECK(std::abs(moments(outputs).mean - moments(inputs).mean) < 5 * std::sqrt(rate / (1 - rate) / count));
  }
}

TEST_CASE("dropout: every element is dropped in some images") {
  MaskedNetwork network(dropout_at(0.5F), 5, 256);
  const std::vector<float> outputs = network.outputs();
  std::vector<int> kept(15);
  for (std::size_t i = 0; i < outputs.size(); ++i) kept[i % 15] += outputs[i] != 0 ? 1 : 0;
  for (const int count : kept) {
    CHECK(count > 128 - 48);
    CHECK(count < 128 + 48);
  }
}

TEST_CASE("dropout: backward has forward's mask") {
  for (const float rate : {0.25F, 0.5F}) {
    CAPTURE(rate);
    MaskedNetwork network(dropout_at(rate), 37, 1);
    for (const std::int64_t step : {1, 2}) {
      const std::vector<float> outputs = network.outputs(step);
      const std::vector<float> from = network.output_gradients(), to = network.input_gradients();
      for (std::size_t i = 0; i < outputs.size(); ++i) {
        const double expected = outputs[i] == 0 ? 0 : from[i] / (1 - rate);
        CHECK(std::abs(to[i] - expected) <= 1e-6 * std::abs(expected) + 1e-8);
      }
    }
  }
}

TEST_CASE("dropout: the mask depends on seed, step, node and position alone") {
  const auto half = [](Value x) { return dropout(x, 0.5F); };
  MaskedNetwork network(half, 16, 8), same(half, 16, 8);
  const std::vector<float> first = network.outputs(1);
  CHECK(first == network.outputs(1));
  CHECK(first == same.outputs(1));
  CHECK(first != network.outputs(2));
  MaskedNetwork other_seed(half, 16, 8, program::Mode::gradients, 6);
  CHECK(first != other_seed.outputs(1));

  SUBCASE("a smaller batch has the first images' masks") {
    MaskedNetwork smaller(half, 16, 3);
    const std::vector<float> part = smaller.outputs(1);
    CHECK(std::equal(part.begin(), part.end(), first.begin(), [](float a, float b) { return (a == 0) == (b == 0); }));
  }
  SUBCASE("images of a batch have masks of their own") {
    CHECK(!std::equal(first.begin(), first.begin() + 48, first.begin() + 48,
                      [](float a, float b) { return (a == 0) == (b == 0); }));
  }
  SUBCASE("two nodes have masks of their own: a quarter of the elements passes both") {
    MaskedNetwork both([](Value x) { return dropout(dropout(x, 0.5F), 0.5F); }, 16, 256);
    const std::vector<float> outputs = both.outputs();
    double kept = 0;
    for (const float value : outputs) kept += value != 0 ? 1 : 0;
    CHECK(kept / static_cast<double>(outputs.size()) == doctest::Approx(0.25).epsilon(0.05));
  }
}

TEST_CASE("dropout: the identity in inference and at rate 0") {
  MaskedNetwork plain([](Value x) { return x; }, 7, 3), none(dropout_at(0), 7, 3);
  MaskedNetwork inference(dropout_at(0.5F), 7, 3, program::Mode::inference);
  const std::vector<float> expected = plain.outputs();
  CHECK(none.outputs() == expected);
  CHECK(inference.outputs() == expected);
}

TEST_CASE("dropout: gradients against finite differences, of a vector and of an image") {
  check_gradients(make_problem([](Value x) { return dropout(linear(flatten(front(x, 4)), {.features = 30}), 0.3F); }));
  check_gradients(make_problem([](Value x) { return dropout(front(x, 16), 0.5F); }));
}

TEST_CASE("dropout: rates outside [0, 1) are refused") {
  Graph graph;
  const Value x = graph.input({3, 4, 4});
  CHECK_THROWS_WITH_AS(dropout(x, 1.0F),
                       "dropout (dropout): rate 1 found; a number of at least 0 and below 1 is needed", Error);
  CHECK_THROWS_WITH_AS(alpha_dropout(x, 2.0F), doctest::Contains("alpha_dropout"), Error);
  CHECK_THROWS_AS(dropout(x, -0.1F), Error);
  CHECK_THROWS_AS(dropout(x, std::nanf("")), Error);
}

}  // namespace facet::testing
