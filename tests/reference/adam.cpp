#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "reference/reference_file.h"

namespace facet::testing {

TEST_CASE("reference model: 20 Adam steps have the losses of PyTorch's") {
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

  const std::vector<float> exact = reference.read("losses");  // in double precision
  const std::vector<float> one = reference.read("losses.float32.threads1"),
                           two = reference.read("losses.float32.threads2");
  const float learning_rate = reference.read("learning_rate").at(0);
  REQUIRE(steps == 20);
  REQUIRE(one.size() == steps);
  // Adam's first steps follow the gradients' signs, so that a run's rounding error grows from step to step: facet's may
  // be as large as PyTorch's own in float32. This is the largest relative error of PyTorch's two float32 runs so far.
  double rounding = 0;
  for (std::size_t i = 0; i < steps; ++i) {
    CAPTURE(i);
    const auto part = [&](const auto& all) {
      const auto size = static_cast<std::ptrdiff_t>(all.size() / steps), first = static_cast<std::ptrdiff_t>(i) * size;
      return std::vector(all.begin() + first, all.begin() + first + size);
    };
    problem.pixels = part(pixels);
    problem.labels = part(labels);
    const double loss = session.run(problem, static_cast<std::int64_t>(i) + 1, learning_rate);
    const auto relative_error = [&](double value) { return std::abs(value - exact[i]) / exact[i]; };
    rounding = std::max({rounding, relative_error(one[i]), relative_error(two[i])});
    CHECK_MESSAGE(relative_error(loss) <= std::max(3 * rounding, 1e-4), "loss ", loss, ", PyTorch's ", exact[i],
                  ", in float32 ", one[i], " and ", two[i]);
  }
  CHECK(exact.back() < exact.front());
}

}  // namespace facet::testing
