#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "facet/data.h"
#include "facet/error.h"
#include "facet/inference.h"
#include "facet/metrics.h"
#include "program/program.h"

namespace facet::inference {

/// A head's answer to an image that is no number, or infinite.
class NotFinite : public Error {
 public:
  /// @param image its position in the batch, from 0.
  NotFinite(const std::string& head, std::int64_t image, std::int64_t images);
  const std::string& head() const { return head_; }
  std::int64_t image() const { return image_; }

 private:
  std::string head_;
  std::int64_t image_;
};

/// Copies a program's answers; vectors that are large enough are not allocated again.
/// @param heads the program's.
/// @throws NotFinite of the first answer that isn't finite.
void read_predictions(const program::Program& program, const std::vector<Head>& heads,
                      std::vector<HeadPrediction>& predictions);

/// What a model gets right over a data set, batch by batch.
class Evaluation {
 public:
  explicit Evaluation(const std::vector<Head>& heads);
  /// Call inside a base::ComputeScope.
  void add(const Batch& batch, const std::vector<HeadPrediction>& predictions);
  std::vector<HeadResult> results() const;

 private:
  std::vector<Head> heads_;
  std::vector<HeadMeter> meters_;
};

}  // namespace facet::inference
