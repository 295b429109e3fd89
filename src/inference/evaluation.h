#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "facet/dataset.h"
#include "facet/error.h"
#include "facet/graph.h"
#include "facet/inference.h"
#include "facet/loader.h"
#include "facet/metrics.h"
#include "facet/model_file.h"
#include "ops/loss.h"
#include "program/program.h"

namespace facet::inference {

/// Bytes of one input image of a model: 8-bit RGB, {height, width, 3}.
inline std::size_t image_bytes(const ModelInfo& info) {
  return static_cast<std::size_t>(info.size.height) * static_cast<std::size_t>(info.size.width) * 3;
}

/// Returns how the images of an evaluation are loaded: in the data set's order, as they are, the last batch too.
/// @param batch images in a batch. @param threads see LoaderOptions.
LoaderOptions evaluation_loading(const ModelInfo& info, std::int64_t batch, int threads);

/// Reports a non-finite logit: the head and the image for which the model computed it.
class NotFinite : public Error {
 public:
  /// @param image the image's position in the batch, from 0. @param images the batch size.
  NotFinite(const std::string& head, std::int64_t image, std::int64_t images);
  const std::string& head() const { return head_; }
  std::int64_t image() const { return image_; }

 private:
  std::string head_;
  std::int64_t image_;
};

/// The class that an image's logits predict.
std::int32_t predicted_class(const Head& head, std::span<const float> logits);

/// Copies the logits and probabilities of a program's last run to `predictions`, and sets the predicted classes. Reuses
/// the memory of vectors that are large enough.
/// @param heads the heads of the program, in its order.
/// @throws NotFinite for the first logit that isn't finite.
void read_predictions(const program::Program& program, const std::vector<Head>& heads,
                      std::vector<HeadPrediction>& predictions);

/// Accumulates the metrics of a model's heads over the batches of a data set.
class Evaluation {
 public:
  /// @param graph the model's; its heads' losses are those that are measured.
  Evaluation(const std::vector<Head>& heads, const Graph& graph);
  /// Call inside a base::ComputeScope. @throws Error naming the head when its targets are wrong, and what a custom loss
  /// throws.
  void add(const Batch& batch, const std::vector<HeadPrediction>& predictions);
  std::vector<HeadResult> results() const;
  /// The results over the images of all processes, which call this together.
  std::vector<HeadResult> results(comm::Communicator& communicator) const;

 private:
  /// The labels of a head that predicts classes: those of the batch, or the largest values of its distributions.
  std::span<const std::int32_t> class_labels(std::size_t head, const Batch& batch);

  std::vector<Head> heads_;
  std::vector<std::shared_ptr<const ops::Loss>> losses_;  ///< by head
  std::vector<HeadMeter> meters_;
  std::vector<std::int32_t> labels_;  ///< of one head, where the batch has distributions
};

}  // namespace facet::inference
