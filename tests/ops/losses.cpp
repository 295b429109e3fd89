#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "base/parallel.h"
#include "facet/error.h"
#include "facet/precision.h"
#include "kernels/loss.h"
#include "ops/network.h"

// Losses whose targets are values, and several kinds of losses in one graph.

namespace facet::testing {
namespace {

/// A head "numbers", a head "labels" and a head "head" with classes, on one trunk.
Problem three_kinds(double missing = 0) {
  Problem problem = make_problem(
      [](Value x) {
        x = flatten(front(x, 8));
        add_linear_head(x, 2, "numbers", LossKind::mean_squared_error);
        add_linear_head(x, 3, "labels", LossKind::binary_cross_entropy);
        return x;
      },
      {.batch = 6, .classes = 4});
  problem.targets = random_targets(problem.graph, 6, 1, missing);
  return problem;
}

/// Distributions over the classes of the only head, for each image but the second.
Problem with_distributions() {
  Problem problem = make_problem([](Value x) { return flatten(front(x, 8)); }, {.batch = 4, .classes = 3});
  problem.targets = {{0.2F, 0.3F, 0.5F, quiet_nan, quiet_nan, quiet_nan, 1, 0, 0, 0, 0.75F, 0.25F}};
  return problem;
}

/// The message of the Error of code invalid_data that a run throws; empty when it throws none.
std::string refusal(const Problem& problem) {
  Parameters parameters = random_parameters(problem.graph);
  Session session = gradient_session(problem, parameters);
  try {
    session.run(problem);
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::invalid_data);
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("losses: gradients against finite differences") {
  SUBCASE("all present") { check_gradients(three_kinds()); }
  SUBCASE("some missing") {
    Problem problem = three_kinds(0.4);
    problem.labels[13] = -1;
    check_gradients(problem);
  }
  SUBCASE("one value left of one head, none of the other") {
    Problem problem = three_kinds();
    std::fill(problem.targets[0].begin() + 1, problem.targets[0].end(), quiet_nan);
    std::ranges::fill(problem.targets[1], quiet_nan);
    check_gradients(problem);
  }
  SUBCASE("distributions") { check_gradients(with_distributions()); }
}

TEST_CASE("losses: finite differences of distributions with smoothing, class weights and a head's weight") {
  const Problem problem = with_distributions();
  Parameters parameters = random_parameters(problem.graph);
  program::ProgramOptions options = gradient_session(problem, parameters).program().options();
  options.losses = {{.smoothing = 0.2, .class_weights = {0.5, 2, 1}, .weight = 3}};
  Session session(problem.graph, parameters, options);
  session.run(problem);
  const std::vector<float> gradient = session.gradient("head.bias");
  const int bias = parameters.find("head.bias");
  const std::vector<float> values = parameters.get(bias);
  for (std::size_t c = 0; c < 3; ++c) {
    const auto loss_at = [&](float distance) {
      std::vector<float> moved = values;
      moved[c] += distance;
      parameters.set(bias, moved);
      session.run(problem);
      return 3 * session.program().heads()[0].sums.mean();
    };
    const double slope = (loss_at(0.01F) - loss_at(-0.01F)) / 0.02;
    CHECK(gradient[c] == doctest::Approx(slope).epsilon(1e-3).scale(1));
  }
}

TEST_CASE("losses: coral's gradients against finite differences, for labels, some of them missing, and distributions") {
  Problem problem = make_problem(
      [](Value x) {
        x = flatten(front(x, 8));
        add_linear_head(x, 5, "age", LossKind::coral);
        return x;
      },
      {.batch = 6, .classes = 4});
  check_gradients(problem);
  problem.labels[2] = -1;
  check_gradients(problem);
  problem.targets = {std::vector<float>(30, 0.2F), {}};
  std::fill_n(problem.targets[0].begin() + 5, 5, quiet_nan);
  for (std::size_t c = 10; c < 15; ++c) problem.targets[0][c] = c == 13 ? 1.0F : 0.0F;
  check_gradients(problem);
}

TEST_CASE("losses: coral has its biases in descending order in inference alone, by which no loss rises") {
  Problem problem;
  problem.batch = 6;
  add_linear_head(front(problem.graph.input({3, 4, 4}), 8), 5, "age", LossKind::coral);
  problem.pixels = random_pixels(6 * 16, 3);
  problem.labels = random_labels(problem.graph, 6, 3);
  Parameters parameters = random_parameters(problem.graph);
  CHECK(parameters.list()[static_cast<std::size_t>(parameters.find("age.weight"))].shape == Shape{1, 8 * 16});
  const std::vector<float> biases{-0.5F, 0.75F, 0.25F, -1};
  parameters.set(parameters.find("age.bias"), biases);
  Session training = gradient_session(problem, parameters), inference = inference_session(problem, parameters);
  const double loss = training.run(problem), sorted_loss = inference.run(problem);
  const std::vector<float> own = training.logits(), sorted = inference.logits();
  REQUIRE(own.size() == 24);
  for (std::size_t n = 0; n < 6; ++n) {
    const float shared = own[n * 4] - biases[0];
    const std::vector<float> descending{0.75F, 0.25F, -0.5F, -1};
    for (std::size_t k = 0; k < 4; ++k) {
      CHECK(own[n * 4 + k] == doctest::Approx(shared + biases[k]).epsilon(1e-5));
      CHECK(sorted[n * 4 + k] == doctest::Approx(shared + descending[k]).epsilon(1e-5));
    }
  }
  CHECK(sorted_loss <= loss);
  const auto probabilities = inference.program().heads()[0].probabilities;
  REQUIRE(probabilities.size() == 30);
  for (std::size_t n = 0; n < 6; ++n) {
    double sum = 0;
    for (std::size_t c = 0; c < 5; ++c) {
      CHECK(probabilities[n * 5 + c] >= 0);
      sum += probabilities[n * 5 + c];
    }
    CHECK(sum == doctest::Approx(1));
  }
}

TEST_CASE("losses: coral refuses a head of one class, and a graph knows its classes") {
  Graph graph;
  const Value x = flatten(graph.input({3, 4, 4}));
  CHECK_THROWS_WITH_AS(coral(x, {.classes = 1}), "coral: 1 classes found; at least 2 are needed", Error);
  CHECK(graph.parameters().empty());
  coral_loss(coral(x, {.classes = 3}), "age");
  CHECK(graph.heads()[0].classes == 3);
  CHECK(graph.heads()[0].kind == LossKind::coral);
  CHECK(graph.nodes()[static_cast<std::size_t>(graph.heads()[0].logits)].shape == Shape{2});
}

TEST_CASE("losses: probabilities are sigmoids, or the outputs themselves, also without targets") {
  Problem problem = three_kinds();
  Parameters parameters = random_parameters(problem.graph);
  Session session = inference_session(problem, parameters);
  for (const bool with_targets : {true, false}) {
    CAPTURE(with_targets);
    if (!with_targets) {
      problem.targets.clear();
      problem.labels.clear();
    }
    session.run(problem);
    const auto heads = session.program().heads();
    CHECK(std::ranges::equal(heads[0].probabilities, heads[0].logits));
    REQUIRE(heads[1].probabilities.size() == 18);
    for (std::size_t i = 0; i < 18; ++i) {
      const double sigmoid = 1 / (1 + std::exp(-static_cast<double>(heads[1].logits[i])));
      CHECK(heads[1].probabilities[i] == doctest::Approx(sigmoid).epsilon(1e-6));
    }
    CHECK(heads[0].sums.labelled == (with_targets ? 12 : 0));
    CHECK(heads[1].sums.labelled == (with_targets ? 18 : 0));
    CHECK((heads[1].sums.loss > 0) == with_targets);
  }
}

TEST_CASE("losses: a batch whose targets are all missing has no loss and no gradient") {
  Problem problem = three_kinds(1);
  std::ranges::fill(problem.labels, -1);
  Parameters parameters = random_parameters(problem.graph);
  Session session = gradient_session(problem, parameters);
  CHECK(session.run(problem) == 0);
  for (const Parameter& parameter : parameters.list()) CHECK(rms(session.gradient(parameter.name)) == 0);
}

TEST_CASE("losses: masked values of other images change nothing but the mean's denominator") {
  const Problem whole = three_kinds();
  Problem masked = whole;
  for (std::size_t i = 4; i < 12; ++i) masked.targets[0][i] = quiet_nan;
  Parameters parameters = random_parameters(whole.graph);
  Session session = gradient_session(whole, parameters);
  session.run(masked);
  const auto sums = session.program().heads()[0].sums;
  CHECK(sums.labelled == 4);
  const auto logits = session.program().heads()[0].logits;
  double loss = 0;
  for (std::size_t i = 0; i < 4; ++i) loss += std::pow(static_cast<double>(logits[i]) - whole.targets[0][i], 2);
  CHECK(sums.mean() == doctest::Approx(loss / 4));
}

TEST_CASE("losses: on several threads they have the bits of one thread") {
  const Problem problem = three_kinds(0.3);
  Parameters parameters = random_parameters(problem.graph);
  Session session = gradient_session(problem, parameters, Precision::f32, 3);
  session.run(problem);
  const auto heads = session.program().heads();
  const base::ComputeScope scope(1);
  CHECK(heads[0].sums.loss ==
        kernels::mean_squared_error(heads[0].logits.data(), problem.targets[0].data(), 6, 2).loss);
  std::vector<float> probabilities(18);
  CHECK(heads[1].sums.loss ==
        kernels::binary_cross_entropy(heads[1].logits.data(), problem.targets[1].data(), 6, 3, probabilities.data())
            .loss);
  CHECK(std::ranges::equal(heads[1].probabilities, probabilities));
}

TEST_CASE("losses: with bf16 activations the losses are near those of f32") {
  if (!has_native_bf16()) {
    MESSAGE("skipped: this CPU, or this oneDNN, computes no bf16");
    return;
  }
  const Problem problem = three_kinds();
  Parameters parameters = random_parameters(problem.graph);
  Session exact = gradient_session(problem, parameters),
          rounded = gradient_session(problem, parameters, Precision::bf16);
  CHECK(rounded.run(problem) == doctest::Approx(exact.run(problem)).epsilon(0.02));
  for (const char* bias : {"numbers.bias", "labels.bias", "head.bias"}) {
    CHECK(rms_difference(rounded.gradient(bias), exact.gradient(bias)) <= 0.03 * rms(exact.gradient(bias)));
  }
}

TEST_CASE("losses: wrong and missing target values are refused with the head's name") {
  const auto refuses = [](const std::function<void(Problem&)>& change, const std::string& message) {
    Problem problem = three_kinds();
    change(problem);
    CHECK(refusal(problem) == message);
  };
  refuses([](Problem& p) { p.targets[1][2] = 1.5F; },
          "head 'labels': the target value 1.5 found; 0 to 1 are allowed, and NaN where there is none");
  refuses([](Problem& p) { p.targets[1][2] = -0.5F; },
          "head 'labels': the target value -0.5 found; 0 to 1 are allowed, and NaN where there is none");
  refuses([](Problem& p) { p.targets[0][0] = std::numeric_limits<float>::infinity(); },
          "head 'numbers': the target value inf found; finite numbers are allowed, and NaN where there is none");
  refuses([](Problem& p) { p.targets[0].pop_back(); },
          "head 'numbers': 11 target values found; 6 images with 2 values each need 12");
  refuses([](Problem& p) { p.targets[0].clear(); },
          "head 'numbers': the batch has no target values, which mean_squared_error needs");
  refuses([](Problem& p) { p.targets.resize(1); },
          "head 'labels': the batch has no target values, which binary_cross_entropy needs");
  refuses([](Problem& p) { p.targets.clear(); },
          "head 'numbers': the batch has no target values, which mean_squared_error needs");

  Problem problem = with_distributions();
  problem.targets[0][0] = -0.25F;
  CHECK(refusal(problem) ==
        "head 'head': the target value -0.25 found; finite numbers of at least 0 are allowed, and NaN where there is "
        "none");
  problem.targets[0][0] = quiet_nan;
  CHECK(refusal(problem) == "head 'head': a distribution with numbers and NaN found; an image has one or the other");
  std::fill_n(problem.targets[0].begin(), 3, 0.0F);
  CHECK(refusal(problem) ==
        "head 'head': a distribution of zeros alone found; at least one number above 0 is needed, or NaN for all "
        "classes where an image has no target");
  problem.targets[0][2] = 0.25F;
  CHECK(refusal(problem).empty());
}

TEST_CASE("losses: a non-finite loss is an error that names the head, not one of an image without a target") {
  Problem problem = three_kinds();
  Parameters parameters = random_parameters(problem.graph);
  parameters.set(parameters.find("numbers.bias"), {3e38F, 3e38F});
  parameters.set(parameters.find("numbers.weight"),
                 std::vector<float>(parameters.get(parameters.find("numbers.weight")).size(), 3e38F));
  Session session = gradient_session(problem, parameters);
  CHECK_THROWS_WITH_AS(session.run(problem), doctest::Contains("head 'numbers': the loss is"), Error);
  try {
    session.run(problem);
    FAIL("a non-finite loss is accepted");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::non_finite);
  }
  std::ranges::fill(problem.targets[0], quiet_nan);
  session.run(problem);
  CHECK(session.program().heads()[0].sums.loss == 0);
}

TEST_CASE("losses: binary cross-entropy and mean squared error need one output, softmax_cross_entropy two classes") {
  Graph graph;
  const Value image = graph.input({3, 4, 4}), x = flatten(image), one = linear(x, {.features = 1});
  binary_cross_entropy(one, "binary");
  mean_squared_error(one, "number");
  custom_loss(one, "own", [](const LossInput&, std::span<float>) { return 0.0; });
  CHECK(graph.heads()[0].kind == LossKind::binary_cross_entropy);
  CHECK(graph.heads()[1].kind == LossKind::mean_squared_error);
  CHECK(graph.heads()[2].kind == LossKind::custom);
  CHECK(graph.heads()[2].classes == 1);
  const std::size_t nodes = graph.nodes().size();
  CHECK_THROWS_WITH_AS(mean_squared_error(image, "image"), doctest::Contains("a vector of at least 1 output"), Error);
  CHECK_THROWS_WITH_AS(softmax_cross_entropy(one, "head"), doctest::Contains("at least 2 classes"), Error);
  CHECK_THROWS_WITH_AS(binary_cross_entropy(one, "own"), "binary_cross_entropy: head 'own' exists already", Error);
  CHECK_THROWS_WITH_AS(custom_loss(one, "other", nullptr), "custom_loss: head 'other' has no function", Error);
  CHECK(graph.nodes().size() == nodes);
}

}  // namespace facet::testing
