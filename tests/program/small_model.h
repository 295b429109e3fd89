#pragma once

#include "ops/network.h"

namespace facet::testing {

/// A network with every kind of instruction that a training step of the reference model has: stem, pooling, a residual
/// block, a hidden layer with dropout and one with alpha dropout, two heads (`first` of 5 classes, `second` of 2).
Problem small_model(std::int64_t batch, bool dropouts = true, std::uint64_t seed = 1);

/// The first `batch` images of a problem, with their labels, under the same graph.
Problem first_images(const Problem& problem, Graph graph, std::int64_t batch);

/// A training program with Adam, of `problem`'s batch size.
class TrainingSession {
 public:
  TrainingSession(const Problem& problem, Parameters& parameters, Precision precision = Precision::f32,
                  bool accumulate = false, double clip_norm = 0, bool save_memory = false);
  double step(const Problem& problem, std::int64_t step, float learning_rate = 1e-2F) {
    return session_.run(problem, step, learning_rate);
  }
  Session& session() { return session_; }

 private:
  std::unique_ptr<optim::Optimizer> optimizer_;
  Session session_;
};

/// Results of three steps.
struct Trained {
  std::vector<double> losses;
  std::vector<std::vector<float>> parameters;
  std::size_t arena_bytes = 0;
};
/// Trains three steps in an arena filled with NaN, which shows in the results if an instruction reads unwritten memory.
Trained train_on_poison(const Problem& problem, Precision precision, bool save_memory);

}  // namespace facet::testing
