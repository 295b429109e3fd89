#include <doctest/doctest.h>

#include "facet/error.h"
#include "ops/masks.h"
#include "ops/network.h"

namespace facet::testing {
namespace {

/// Klambauer et al. 2017, section "New dropout technique".
struct Rule {
  explicit Rule(double rate)
      : a(1 / std::sqrt((1 - rate) + saturation * saturation * rate * (1 - rate))), b(-a * rate * saturation) {}
  static constexpr double saturation = -1.7580993408473766;
  double a, b;
  double dropped() const { return a * saturation + b; }
};

Body alpha_dropout_at(float rate) {
  return [rate](Value x) { return alpha_dropout(x, rate); };
}

bool is_dropped(float output, const Rule& rule) { return std::abs(output - rule.dropped()) < 1e-5; }

}  // namespace

TEST_CASE("alpha_dropout: mean 0 and variance 1 are kept") {
  for (const float rate : {0.1F, 0.5F, 0.7F}) {
    CAPTURE(rate);
    MaskedNetwork network(alpha_dropout_at(rate), 16, 1024);
    const Moments before = moments(network.inputs()), after = moments(network.outputs());
    CHECK(std::abs(before.mean) < 0.02);
    CHECK(before.variance == doctest::Approx(1).epsilon(0.02));
    CHECK(std::abs(after.mean) < 0.03);
    CHECK(after.variance == doctest::Approx(1).epsilon(0.04));
  }
}

TEST_CASE("alpha_dropout: dropped elements take the saturation value, the rest is an affine map") {
  for (const float rate : {0.2F, 0.5F}) {
    CAPTURE(rate);
    const Rule rule(rate);
    MaskedNetwork network(alpha_dropout_at(rate), 16, 512);
    const std::vector<float> inputs = network.inputs(), outputs = network.outputs();
    double dropped = 0;
    bool exact = true;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const double kept = rule.a * inputs[i] + rule.b;
      if (std::abs(outputs[i] - kept) < 5e-6) continue;
      exact = exact && is_dropped(outputs[i], rule);
      ++dropped;
    }
    CHECK(exact);
    const auto count = static_cast<double>(outputs.size());
    CHECK(std::abs(dropped / count - rate) < 5 * std::sqrt(rate * (1 - rate) / count));
  }
}

TEST_CASE("alpha_dropout: backward has forward's mask and slope") {
  const Rule rule(0.5);
  MaskedNetwork network(alpha_dropout_at(0.5F), 37, 1);
  const std::vector<float> outputs = network.outputs(3);
  const std::vector<float> from = network.output_gradients(), to = network.input_gradients();
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const double expected = is_dropped(outputs[i], rule) ? 0 : rule.a * from[i];
    CHECK(std::abs(to[i] - expected) <= 1e-6 * std::abs(expected) + 1e-8);
  }
}

TEST_CASE("alpha_dropout: the identity in inference and at rate 0") {
  MaskedNetwork plain([](Value x) { return x; }, 7, 3), none(alpha_dropout_at(0), 7, 3);
  MaskedNetwork inference(alpha_dropout_at(0.5F), 7, 3, program::Mode::inference);
  const std::vector<float> expected = plain.outputs();
  CHECK(none.outputs() == expected);
  CHECK(inference.outputs() == expected);
}

TEST_CASE("alpha_dropout: gradients against finite differences") {
  check_gradients(
      make_problem([](Value x) { return alpha_dropout(linear(flatten(front(x, 4)), {.features = 30}), 0.4F); }));
}

TEST_CASE("alpha_dropout: rates outside [0, 1) are refused") {
  Graph graph;
  const Value x = graph.input({3, 4, 4});
  CHECK_THROWS_AS(alpha_dropout(x, 1.0F), Error);
  CHECK_THROWS_AS(alpha_dropout(x, -0.1F), Error);
}

}  // namespace facet::testing
