#pragma once

#include <cstdint>
#include <vector>

/// Softmax with cross-entropy.
namespace facet::kernels {

/// How labels are weighted in a head's loss, and the head's loss in the sum over all heads.
struct LossRule {
  double smoothing = 0;  ///< share of each label that all classes get equally (Szegedy et al. 2016), in [0, 1)
  std::vector<double> class_weights = {};  ///< empty: all are 1
  double weight = 1;                       ///< weight of the head
};

struct LossSums {
  double loss = 0;            ///< sum of cross-entropies over the labelled images, in nats
  std::int64_t labelled = 0;  ///< images with a label
  std::int64_t correct = 0;   ///< labelled images whose largest logit is the label's (the first among equals)
  double weight = 0;          ///< sum of the class weights of the labelled images: the denominator of the mean

  /// The mean loss; 0 if no image has a weight above 0.
  double mean() const { return weight > 0 ? loss / weight : 0; }
};

/// Softmax and cross-entropy of f32 logits {images, classes}; labels are class indices, or -1 for no label. The sums
/// are taken in the order of the images. A labelled image with a non-finite logit makes the loss NaN.
///
/// With smoothing s and class weights w, the loss of an image with label y is, as in PyTorch's cross_entropy, the sum
/// over c of -target[c] * log(probability[c]), where target[c] = (1 - s) w[y] [c == y] + s / classes * w[c].
/// @param probabilities {images, classes}; may be null.
LossSums softmax_cross_entropy(const float* logits, const std::int32_t* labels, std::int64_t images,
                               std::int64_t classes, float* probabilities, const LossRule& rule = {});
/// gradient[n, c] = (probabilities[n, c] * sum(target) - target[c]) * rule.weight / label_weight; 0 for images without
/// a label. @param label_weight LossSums::weight.
void softmax_cross_entropy_backward(const float* probabilities, const std::int32_t* labels, std::int64_t images,
                                    std::int64_t classes, double label_weight, float* gradient,
                                    const LossRule& rule = {});

}  // namespace facet::kernels
