#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "facet/dataset.h"
#include "facet/export.h"

namespace facet {

/// For a head with more classes than this, only the non-zero cells of the confusion matrix are given.
inline constexpr std::size_t max_dense_classes = 4096;

/// A cell of a confusion matrix: the number of images with one label and one predicted class, both indices into the
/// classes.
struct ConfusionCell {
  std::int32_t label = 0;
  std::int32_t predicted = 0;
  std::int64_t images = 0;
  bool operator==(const ConfusionCell&) const = default;
};

/// The loss, accuracy and confusion matrix of a head over a data set. Images without a label are ignored.
struct HeadResult {
  std::string head = {};
  std::vector<std::string> classes = {};
  std::int64_t labelled = 0;
  double loss = 0;      ///< mean cross-entropy in nats
  double accuracy = 0;  ///< share of the labelled images, 0 to 1; meaningless if `labelled` is 0
  /// [label][predicted], in images; empty if there are more than max_dense_classes classes.
  std::vector<std::vector<std::int64_t>> confusion = {};
  /// The non-zero cells, ordered by label, then by predicted class; empty if `confusion` is given.
  std::vector<ConfusionCell> confusion_cells = {};
};

/// Accumulates the HeadResult of a head batch by batch. Memory grows with the pairs of label and prediction that occur.
class FACET_EXPORT HeadMeter {
 public:
  explicit HeadMeter(Head head);
  /// @param labels class indices or no_label. @param predicted class indices. @param loss sum over the labelled images.
  /// @throws Error naming the head when the numbers of labels and predictions differ, or when the label or prediction
  ///   of a labelled image is out of range.
  void add(std::span<const std::int32_t> labels, std::span<const std::int32_t> predicted, double loss);
  HeadResult result() const;

 private:
  Head head_;
  double loss_ = 0;
  std::unordered_map<std::uint64_t, std::int64_t> counts_;  ///< by label * classes + predicted
};

/// The result of one class: images with that label (`support`), images with that prediction, precision, recall and F1
/// (0 where undefined).
struct ClassResult {
  std::int64_t support = 0;
  std::int64_t predicted = 0;
  double precision = 0, recall = 0, f1 = 0;
};
/// Returns the result of each class.
/// @throws Error naming the head when its confusion matrix isn't square, or a cell's class is out of range.
FACET_EXPORT std::vector<ClassResult> per_class(const HeadResult& result);

}  // namespace facet
