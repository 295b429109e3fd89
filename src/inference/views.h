#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "facet/graph.h"
#include "facet/image.h"
#include "facet/inference.h"
#include "facet/loader.h"
#include "facet/model_file.h"

namespace facet::inference {

/// The views of images over which an evaluation averages (test-time augmentation).
class Views {
 public:
  /// @throws Error when the kind has another value.
  Views(TestTimeAugmentation kind, const ModelInfo& info);

  int count() const;
  /// The size at which images are loaded, and how they are resized to it.
  ImageSize loaded_size() const { return loaded_; }
  ResizeMode loaded_resize() const;
  /// Returns a view of each image.
  /// @param view in [0, count()). @param pixels {images, height, width, 3} of loaded_size().
  /// @return {images, height, width, 3} of the model's size; valid until the next call.
  std::span<const std::uint8_t> view(int view, std::span<const std::uint8_t> pixels, std::int64_t images);

 private:
  TestTimeAugmentation kind_;
  ImageSize size_, loaded_;
  ResizeMode resize_;
  std::vector<std::uint8_t> pixels_;
};

/// The mean of the predictions for several views of a batch.
class MeanPrediction {
 public:
  /// @param graph must outlive it.
  MeanPrediction(const Graph& graph, const std::vector<Head>& heads) : graph_(graph), heads_(heads) {}

  void begin();
  void add(const std::vector<HeadPrediction>& view);
  /// Valid until the next begin().
  const std::vector<HeadPrediction>& result();

 private:
  const Graph& graph_;
  const std::vector<Head>& heads_;
  int views_ = 0;
  std::vector<std::vector<double>> sums_;  ///< of the probabilities, by head
  /// Of the probabilities that the logits stand for, and of 1 minus these where logits are those of sigmoids: computed
  /// from the views' logits, so that neither end is rounded away.
  std::vector<std::vector<double>> for_, against_;
  std::vector<HeadPrediction> mean_;
};

}  // namespace facet::inference
