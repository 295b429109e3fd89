#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "facet/data.h"
#include "facet/export.h"

namespace facet {

/// What a head got right over a data set. Images without a label take no part.
struct HeadResult {
  std::string head = {};
  std::vector<std::string> classes = {};
  std::int64_t labelled = 0;
  double loss = 0;      ///< mean cross-entropy in nats
  double accuracy = 0;  ///< share of the labelled images, 0 to 1; means nothing where `labelled` is 0
  std::vector<std::vector<std::int64_t>> confusion = {};  ///< [label][predicted], in images
};

/// Counts labels against predictions, batch by batch.
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
  std::vector<std::vector<std::int64_t>> confusion_;
};

/// Of one class: images that carry the label, precision, recall and F1 (0 where undefined).
struct ClassResult {
  std::int64_t support = 0;
  double precision = 0, recall = 0, f1 = 0;
};
/// By class. @throws Error naming the head when its confusion matrix isn't square.
FACET_EXPORT std::vector<ClassResult> per_class(const HeadResult& result);

}  // namespace facet
