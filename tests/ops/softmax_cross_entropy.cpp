#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "facet/error.h"
#include "ops/network.h"

namespace facet::testing {
namespace {

Problem two_heads() {
  Problem problem = make_problem(
      [](Value x) {
        x = flatten(front(x, 8));
        add_linear_head(x, 3, "first");
        return x;
      },
      {.batch = 6, .classes = 5});
  return problem;
}

/// The sum of the losses in double, from the logits of a run.
double expected_loss(const program::HeadView& head, const std::int32_t* labels, std::int64_t batch) {
  const std::size_t classes = head.logits.size() / static_cast<std::size_t>(batch);
  double sum = 0;
  for (std::int64_t n = 0; n < batch; ++n) {
    if (labels[n] < 0) continue;
    const auto row = head.logits.subspan(static_cast<std::size_t>(n) * classes, classes);
    double exponentials = 0;
    for (const float logit : row) exponentials += std::exp(static_cast<double>(logit));
    sum += std::log(exponentials) - row[static_cast<std::size_t>(labels[n])];
  }
  return sum;
}

}  // namespace

TEST_CASE("softmax_cross_entropy: gradients against finite differences") {
  Problem problem = two_heads();
  SUBCASE("all labelled") { check_gradients(problem); }
  SUBCASE("some labels missing") {
    for (const std::size_t i : {0U, 3U, 7U, 8U, 9U}) problem.labels[i] = -1;
    check_gradients(problem);
  }
  SUBCASE("one label left in one head, none in the other") {
    for (std::size_t i = 1; i < 12; ++i) problem.labels[i] = -1;
    check_gradients(problem);
  }
}

TEST_CASE("softmax_cross_entropy: sums and probabilities") {
  Problem problem = two_heads();
  for (const std::size_t i : {1U, 2U, 11U}) problem.labels[i] = -1;
  Parameters parameters = random_parameters(problem.graph);
  Session session = gradient_session(problem, parameters);
  session.run(problem);
  const auto heads = session.program().heads();
  REQUIRE(heads.size() == 2);
  const std::int64_t labelled[] = {4, 5};
  for (std::size_t h = 0; h < 2; ++h) {
    CAPTURE(h);
    const program::HeadView& head = heads[h];
    const std::int32_t* labels = problem.labels.data() + h * 6;
    const std::size_t classes = h == 0 ? 3 : 5;
    REQUIRE(head.logits.size() == 6 * classes);
    REQUIRE(head.probabilities.size() == 6 * classes);
    CHECK(head.sums.labelled == labelled[h]);
    CHECK(head.sums.loss == doctest::Approx(expected_loss(head, labels, 6)).epsilon(1e-6));
    std::int64_t correct = 0;
    for (std::size_t n = 0; n < 6; ++n) {
      const auto row = head.probabilities.subspan(n * classes, classes);
      double sum = 0;
      for (const float probability : row) sum += probability;
      CHECK(sum == doctest::Approx(1).epsilon(1e-6));
      correct += std::max_element(row.begin(), row.end()) - row.begin() == labels[n] ? 1 : 0;
    }
    CHECK(head.sums.correct == correct);
  }
}

TEST_CASE("softmax_cross_entropy: each head's loss rule weights its own gradient and loss") {
  const Problem problem = two_heads();
  Parameters parameters = random_parameters(problem.graph);
  Session plain = gradient_session(problem, parameters);
  plain.run(problem);
  program::ProgramOptions options = plain.program().options();
  options.losses = {{.weight = 4}, {.class_weights = {2, 2, 2, 2, 2}, .weight = 0.5}};
  Session weighted(problem.graph, parameters, options);
  weighted.run(problem);
  const auto scaled = [&](const char* parameter, float factor) {
    std::vector<float> gradient = plain.gradient(parameter);
    for (float& value : gradient) value *= factor;
    return gradient;
  };
  CHECK(max_difference(weighted.gradient("first.bias"), scaled("first.bias", 4)) <= 1e-6);
  CHECK(max_difference(weighted.gradient("head.bias"), scaled("head.bias", 0.5F)) <= 1e-6);
  const auto before = plain.program().heads(), after = weighted.program().heads();
  CHECK(after[0].sums.mean() == before[0].sums.mean());
  CHECK(after[1].sums.loss == doctest::Approx(2 * before[1].sums.loss));
  CHECK(after[1].sums.mean() == doctest::Approx(before[1].sums.mean()));
}

TEST_CASE("softmax_cross_entropy: a batch without labels has no loss and no gradient") {
  Problem problem = two_heads();
  Parameters parameters = random_parameters(problem.graph);
  Session session = gradient_session(problem, parameters);
  session.run(problem);
  CHECK(rms(session.gradient("front.weight")) > 0);
  std::fill(problem.labels.begin(), problem.labels.end(), -1);
  CHECK(session.run(problem) == 0);
  for (const Parameter& parameter : parameters.list()) {
    CAPTURE(parameter.name);
    CHECK(rms(session.gradient(parameter.name)) == 0);
  }
}

TEST_CASE("softmax_cross_entropy: evaluation runs without labels") {
  Problem problem = two_heads();
  Parameters parameters = random_parameters(problem.graph);
  Session session = inference_session(problem, parameters);
  session.run(problem);
  const std::vector<float> logits = session.logits();
  CHECK(session.program().heads()[0].sums.labelled == 6);
  problem.labels.clear();
  session.run(problem);
  CHECK(session.logits() == logits);
  CHECK(session.program().heads()[0].sums.labelled == 0);
}

TEST_CASE("softmax_cross_entropy: logits of +-80 give finite losses") {
  Problem problem = two_heads();
  Parameters parameters = random_parameters(problem.graph);
  parameters.set(parameters.find("first.bias"), {80, -80, 0});
  Session session = gradient_session(problem, parameters);
  CHECK(std::isfinite(session.run(problem)));
  const program::HeadView& head = session.program().heads()[0];
  CHECK(head.sums.loss == doctest::Approx(expected_loss(head, problem.labels.data(), 6)).epsilon(1e-5));
}

TEST_CASE("softmax_cross_entropy: logits must be a vector, and heads need different names") {
  Graph graph;
  const Value x = graph.input({3, 4, 4});
  CHECK_THROWS_AS(softmax_cross_entropy(x, "head"), Error);
  softmax_cross_entropy(flatten(x), "head");
  CHECK(graph.heads().size() == 1);
  CHECK(graph.heads()[0].classes == 48);
  const Value second = flatten(x);
  const std::size_t nodes = graph.nodes().size();
  CHECK_THROWS_WITH_AS(softmax_cross_entropy(second, "head"), doctest::Contains("head"), Error);
  CHECK(graph.nodes().size() == nodes);
  softmax_cross_entropy(second, "other");
  CHECK(graph.heads().size() == 2);
}

}  // namespace facet::testing
