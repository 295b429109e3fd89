#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/random.h"
#include "ops/network.h"

namespace facet::testing {
namespace {

/// Rounding error in f32 of a loss of about 1.
constexpr double loss_rounding = 4e-7;

class Slopes {
 public:
  Slopes(const Problem& problem, Parameters& parameters)
      : problem_(problem),
        parameters_(parameters),
        session_(gradient_session(problem, parameters, Precision::f32, 1)) {}

  std::vector<float> gradient(int parameter) {
    session_.run(problem_);
    return session_.program().gradient(parameter);
  }

  /// d loss / d t at 0 of parameter + t * direction.
  double along(int parameter, const std::vector<float>& direction, double step) {
    const std::vector<float> values = parameters_.get(parameter);
    const auto central = [&](double t) {
      return (loss_at(parameter, values, direction, t) - loss_at(parameter, values, direction, -t)) / (2 * t);
    };
    const double slope = (4 * central(step / 2) - central(step)) / 3;
    parameters_.set(parameter, values);
    return slope;
  }

 private:
  double loss_at(int parameter, const std::vector<float>& values, const std::vector<float>& direction, double t) {
    std::vector<float> moved = values;
    for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += static_cast<float>(t * direction[i]);
    parameters_.set(parameter, moved);
    return session_.run(problem_);
  }

  const Problem& problem_;
  Parameters& parameters_;
  Session session_;
};

std::set<std::size_t> some_elements(const std::vector<float>& gradient, std::uint64_t seed) {
  base::RandomStream random(seed, base::Purpose::synthesis, 3);
  const auto largest =
      std::max_element(gradient.begin(), gradient.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
  std::set<std::size_t> elements{static_cast<std::size_t>(largest - gradient.begin()), 0, gradient.size() - 1};
  for (int i = 0; i < 4; ++i) elements.insert(random.below(static_cast<std::uint32_t>(gradient.size())));
  return elements;
}

void check_parameter(Slopes& slopes, int parameter, const DifferenceOptions& options) {
  const std::vector<float> gradient = slopes.gradient(parameter);
  const double length = rms(gradient) * std::sqrt(static_cast<double>(gradient.size()));
  REQUIRE(std::isfinite(length));
  // The rounding errors of four losses, with their weights in `along`: 4/3 * 2 / step, and 1/3 * 1 / step.
  const double rounding = 3 * loss_rounding / options.step;
  if (length > 0) {
    std::vector<float> direction = gradient;
    for (float& element : direction) element = static_cast<float>(element / length);
    const double slope = slopes.along(parameter, direction, options.step);
    CHECK_MESSAGE(std::abs(slope - length) <= options.tolerance * length + rounding, "slope along the gradient ", slope,
                  ", its length ", length);
  }
  for (const std::size_t element : some_elements(gradient, static_cast<std::uint64_t>(parameter))) {
    std::vector<float> direction(gradient.size());
    direction[element] = 1;
    const double slope = slopes.along(parameter, direction, options.step);
    const double expected = gradient[element];
    CHECK_MESSAGE(
        std::abs(slope - expected) <= options.tolerance * std::max(std::abs(expected), rms(gradient)) + rounding,
        "element ", element, ": slope ", slope, ", gradient ", expected);
  }
}

}  // namespace

void check_gradients(const Problem& problem, Parameters& parameters, const DifferenceOptions& options) {
  Slopes slopes(problem, parameters);
  for (std::size_t i = 0; i < parameters.list().size(); ++i) {
    if (!parameters.list()[i].trainable) continue;
    INFO("parameter ", parameters.list()[i].name);
    check_parameter(slopes, static_cast<int>(i), options);
  }
}

void check_gradients(const Problem& problem, const DifferenceOptions& options) {
  Parameters parameters = random_parameters(problem.graph);
  check_gradients(problem, parameters, options);
}

}  // namespace facet::testing
