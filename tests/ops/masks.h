#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "ops/network.h"

namespace facet::testing {

/// input - flatten - linear `hidden` (identity) - the op under test - linear `head` (identity): the logits are the op's
/// outputs, and with one image the gradient of hidden.bias is the op's input gradient.
class MaskedNetwork {
 public:
  /// @param width pixels of each image, which is one row of random pixels.
  MaskedNetwork(const Body& op, std::int64_t width, std::int64_t batch, program::Mode mode = program::Mode::gradients,
                std::uint64_t seed = 5)
      : problem_(make(op, width, batch)),
        parameters_(problem_.graph, 1),
        session_(problem_.graph, parameters_,
                 {.batch = batch,
                  .mode = mode,
                  .mean = {0.5F, 0.5F, 0.5F},
                  .std = {deviation, deviation, deviation},
                  .seed = seed}) {
    make_identity(parameters_, "hidden");
    make_identity(parameters_, "head");
  }

  /// The op's inputs, {batch, features}: mean 0 and variance 1 over many.
  std::vector<float> inputs() const {
    const auto features = static_cast<std::size_t>(problem_.graph.heads()[0].classes), width = features / 3;
    std::vector<float> values(problem_.pixels.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t image = i / features, feature = i % features;
      const std::size_t pixel = image * features + (feature % width) * 3 + feature / width;
      values[i] = (static_cast<float>(problem_.pixels[pixel]) / 255.0F - 0.5F) / deviation;
    }
    return values;
  }
  /// The op's outputs, {batch, features}.
  std::vector<float> outputs(std::int64_t step = 1) {
    session_.run(problem_, step);
    return session_.logits();
  }
  /// Gradients of the loss with respect to the op's outputs, for one image, from the probabilities of the last run.
  std::vector<float> output_gradients() const {
    const auto probabilities = session_.program().heads()[0].probabilities;
    std::vector<float> gradients(probabilities.begin(), probabilities.end());
    gradients[static_cast<std::size_t>(problem_.labels.at(0))] -= 1;
    return gradients;
  }
  std::vector<float> input_gradients() const { return session_.gradient("hidden.bias"); }
  const Session& session() const { return session_; }

 private:
  static constexpr float deviation = 0.28980F;  ///< of the 256 grey levels / 255, uniformly distributed

  static Problem make(const Body& op, std::int64_t width, std::int64_t batch) {
    const auto body = [&](Value x) {
      x = flatten(x);
      return op(linear(x, {.features = x.channels(), .name = "hidden"}));
    };
    return make_problem(body, {.height = 1, .width = width, .batch = batch, .classes = 3 * width, .seed = 9});
  }

  Problem problem_;
  Parameters parameters_;
  Session session_;
};

struct Moments {
  double mean = 0, variance = 0;
};
inline Moments moments(const std::vector<float>& values) {
  Moments m;
  for (const float value : values) m.mean += value;
  m.mean /= static_cast<double>(values.size());
  for (const float value : values) m.variance += std::pow(value - m.mean, 2);
  m.variance /= static_cast<double>(values.size());
  return m;
}

}  // namespace facet::testing
