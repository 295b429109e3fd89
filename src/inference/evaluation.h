#pragma once

#include <vector>

#include "facet/data.h"
#include "facet/inference.h"
#include "facet/metrics.h"
#include "program/program.h"

namespace facet::inference {

/// Copies a program's answers; vectors that are large enough are not allocated again.
void read_predictions(const program::Program& program, std::vector<HeadPrediction>& predictions);

/// What a model gets right over a data set, batch by batch.
class Evaluation {
 public:
  explicit Evaluation(const std::vector<Head>& heads);
  /// Call inside a base::ComputeScope. @throws Error naming the head when its loss isn't finite.
  void add(const Batch& batch, const std::vector<HeadPrediction>& predictions);
  std::vector<HeadResult> results() const;

 private:
  std::vector<Head> heads_;
  std::vector<HeadMeter> meters_;
};

}  // namespace facet::inference
