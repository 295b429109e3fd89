#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "facet/data.h"
#include "facet/export.h"

namespace facet {

/// The confusion matrix of a head of more classes is given by its cells that aren't 0.
inline constexpr std::size_t max_dense_classes = 4096;

/// Images of one label that got one answer: indices into the classes.
struct ConfusionCell {
  std::int32_t label = 0;
  std::int32_t predicted = 0;
  std::int64_t images = 0;
  bool operator==(const ConfusionCell&) const = default;
};

/// What a head got right over a data set. Images without a label take no part.
struct HeadResult {
  std::string head = {};
  std::vector<std::string> classes = {};
  std::int64_t labelled = 0;
  double loss = 0;      ///< mean cross-entropy in nats
  double accuracy = 0;  ///< share of the labelled images, 0 to 1; means nothing where `labelled` is 0
  /// [label][predicted], in images; empty where there are more than max_dense_classes.
  std::vector<std::vector<std::int64_t>> confusion = {};
  /// Where there are more: the cells that aren't 0, by label, then by predicted.
  std::vector<ConfusionCell> confusion_cells = {};
};

/// Counts labels against predictions, batch by batch, in memory for those pairs that occur.
class FACET_EXPORT HeadMeter {
 public:
  explicit HeadMeter(Head head);
  /// @param labels class indices or no_label. @param predicted class indices. @param loss sum over the labelled images.
  /// @throws Error naming the head when there are more of one than of the other, or one of a labelled image is no
  /// class.
  void add(std::span<const std::int32_t> labels, std::span<const std::int32_t> predicted, double loss);
  HeadResult result() const;

 private:
  Head head_;
  double loss_ = 0;
  std::unordered_map<std::uint64_t, std::int64_t> counts_;  ///< by label * classes + predicted
};

/// Of one class: images that carry the label, images that got the answer, precision, recall and F1 (0 where undefined).
struct ClassResult {
  std::int64_t support = 0;
  std::int64_t predicted = 0;
  double precision = 0, recall = 0, f1 = 0;
};
/// By class. @throws Error naming the head when its confusion matrix isn't square, or a cell is of no class.
FACET_EXPORT std::vector<ClassResult> per_class(const HeadResult& result);

}  // namespace facet
