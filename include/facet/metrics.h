#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "facet/dataset.h"
#include "facet/export.h"
#include "facet/graph.h"

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

/// The loss, accuracy and confusion matrix of a head over a data set. Images without a label are ignored. Heads with
/// another loss than softmax_cross_entropy and coral_loss have no confusion matrix.
struct HeadResult {
  std::string head = {};
  std::vector<std::string> classes = {};
  /// Images with a label; for binary_cross_entropy and mean_squared_error the values that are present, of all outputs;
  /// for custom_loss the images with a label or a value.
  std::int64_t labelled = 0;
  double loss = 0;  ///< mean over `labelled`: of cross-entropies in nats, squared errors or the caller's own loss
  /// Share of `labelled` that is predicted correctly, 0 to 1; meaningless if `labelled` is 0. A distribution's label is
  /// its class with the largest value; for binary_cross_entropy a prediction is correct if probability and target are
  /// on the same side of 0.5; NaN for mean_squared_error and custom_loss.
  double accuracy = 0;
  /// Of heads with coral_loss, NaN for others, and meaningless if `labelled` is 0: the share of `labelled` whose
  /// predicted class is the label or next to it, 0 to 1, and the mean distance of the two, in classes.
  double within_one = std::numeric_limits<double>::quiet_NaN();
  double mean_absolute_error = std::numeric_limits<double>::quiet_NaN();
  /// [label][predicted], in images; empty if there are more than max_dense_classes classes.
  std::vector<std::vector<std::int64_t>> confusion = {};
  /// The non-zero cells, ordered by label, then by predicted class; empty if `confusion` is given.
  std::vector<ConfusionCell> confusion_cells = {};
};

/// Accumulates the HeadResult of a head batch by batch. Memory grows with the pairs of label and prediction that occur.
class FACET_EXPORT HeadMeter {
 public:
  explicit HeadMeter(Head head, LossKind kind = LossKind::softmax_cross_entropy);
  /// Adds images of a head whose loss is softmax_cross_entropy or coral_loss.
  /// @param labels class indices or no_label. @param predicted class indices. @param loss sum over the labelled images.
  /// @throws Error naming the head when its loss is another, when the numbers of labels and predictions differ, or when
  ///   the label or prediction of a labelled image is out of range.
  void add(std::span<const std::int32_t> labels, std::span<const std::int32_t> predicted, double loss);
  /// Adds images of a head with another loss. @param labelled, correct, loss see HeadResult; sums over the images.
  /// @throws Error naming the head when its loss is one of these two, whose predictions must be known.
  void add(std::int64_t labelled, std::int64_t correct, double loss);
  HeadResult result() const;
  /// Returns the counts and the loss so far as bytes, for merge() in another process.
  std::string serialize() const;
  /// Adds what another meter of the same head counted. @param serialized what its serialize() returned.
  /// @throws Error naming the head when `serialized` isn't that.
  void merge(std::string_view serialized);

 private:
  Head head_;
  LossKind kind_;
  double loss_ = 0;
  std::int64_t labelled_ = 0, correct_ = 0;                 ///< of heads without a confusion matrix
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
