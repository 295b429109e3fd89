#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "reference/reference_file.h"
#include "reference/reference_model.h"

namespace facet::testing {

TEST_CASE("reference model: 20 Adam steps lose what PyTorch's lose") {
  if (!have_references()) return;
  const ReferenceFile reference("adam");
  const Shape shape = reference.shape("pixels");  // {steps, batch, height, width, 3}
  const std::vector<std::uint8_t> pixels = reference.pixels();
  const std::vector<std::int32_t> labels = reference.labels();
  const auto steps = static_cast<std::size_t>(shape.at(0));
  Problem problem{reference_without_dropout(static_cast<int>(shape.at(2))), shape.at(1), {}, {}};
  Parameters parameters(problem.graph, 1);
  reference.load_weights(parameters);
  const auto optimizer = optim::adam();
  program::ProgramOptions options = model_options(problem.batch, program::Mode::training);
  options.optimizer = optimizer.get();
  Session session(problem.graph, parameters, options);

  const std::vector<float> one = reference.read("losses.threads1"), two = reference.read("losses.threads2");
  const float learning_rate = reference.read("learning_rate").at(0);
  REQUIRE(steps == 20);
  REQUIRE(one.size() == steps);
  double threads_apart = 0;  // the most that PyTorch's two runs have come apart so far, as a share of the loss
  for (std::size_t i = 0; i < steps; ++i) {
    CAPTURE(i);
    const auto part = [&](const auto& all) {
      const auto size = static_cast<std::ptrdiff_t>(all.size() / steps), first = static_cast<std::ptrdiff_t>(i) * size;
      return std::vector(all.begin() + first, all.begin() + first + size);
    };
    problem.pixels = part(pixels);
    problem.labels = part(labels);
    const double loss = session.run(problem, static_cast<std::int64_t>(i) + 1, learning_rate);
    const double expected = one[i];
    threads_apart = std::max(threads_apart, std::abs(static_cast<double>(two[i]) - expected) / expected);
    const double apart = std::abs(loss - expected) / expected;
    CHECK_MESSAGE(apart <= std::max(3 * threads_apart, 1e-4), "loss ", loss, ", PyTorch's ", expected, " and ", two[i]);
  }
  CHECK(one.back() < one.front());
}

}  // namespace facet::testing
