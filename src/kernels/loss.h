#pragma once

#include <cstdint>
#include <vector>

/// The losses of heads and their gradients. Logits, probabilities and gradients are f32 {images, outputs}, but for
/// coral_loss, whose probabilities have a class more. Losses are
/// computed in double and summed in the order of the images, so that the sums don't depend on the number of threads.
/// What has no target adds nothing to a loss or gradient; a non-finite logit of an image that has one makes the loss
/// NaN.
namespace facet::kernels {

/// How a head's loss counts in the sum over all heads, and, for softmax_cross_entropy, how its labels are smoothed and
/// weighted.
struct LossRule {
  double smoothing = 0;  ///< share of each label that all classes get equally (Szegedy et al. 2016), in [0, 1)
  std::vector<double> class_weights = {};  ///< empty: all are 1
  double weight = 1;                       ///< weight of the head
  /// Whether distributions are mixtures of labels, as those of Mixup are: an image's loss is then the sum of the losses
  /// of the labels, each with its class's weight and smoothing, in proportion to q[c]. Where an image of a mixture has
  /// no label, q sums to less than 1.
  bool mixes_labels = false;
};

struct LossSums {
  double loss = 0;            ///< sum over the targets that are present
  std::int64_t labelled = 0;  ///< images with a label or distribution; single values for losses over values
  std::int64_t correct = 0;   ///< those of `labelled` that are predicted correctly, see the losses
  double weight = 0;          ///< the denominator of the mean

  /// The mean loss; 0 if no target has a weight above 0.
  double mean() const { return weight > 0 ? loss / weight : 0; }
};

/// Softmax and cross-entropy in nats; labels are class indices, or -1 for no label. An image is predicted correctly if
/// the label's logit is the largest, and the first one among equals.
///
/// With smoothing s and class weights w, the loss of an image with label y is, as in PyTorch's cross_entropy, the sum
/// over c of -target[c] * log(probability[c]), where target[c] = (1 - s) w[y] [c == y] + s / classes * w[c]; the mean's
/// denominator is the sum of w[y].
/// @param probabilities {images, classes}; may be null.
LossSums softmax_cross_entropy(const float* logits, const std::int32_t* labels, std::int64_t images,
                               std::int64_t classes, float* probabilities, const LossRule& rule = {});
/// gradient[n, c] = (probabilities[n, c] * sum(target) - target[c]) * rule.weight / label_weight; 0 for images without
/// a label. @param label_weight LossSums::weight.
void softmax_cross_entropy_backward(const float* probabilities, const std::int32_t* labels, std::int64_t images,
                                    std::int64_t classes, double label_weight, float* gradient,
                                    const LossRule& rule = {});

/// The same with a distribution q over the classes for each image, {images, classes}, or NaN for an image without one:
/// as in PyTorch's cross_entropy, target[c] = ((1 - s) q[c] + s / classes) * w[c], and the mean's denominator is the
/// number of images. With LossRule::mixes_labels, target[c] = (1 - s) q[c] w[c] + sum(q) s / classes * w[c], and the
/// denominator the sum of q[c] w[c]. The label that counts for a correct prediction is the first of q's largest values.
LossSums softmax_cross_entropy(const float* logits, const float* distributions, std::int64_t images,
                               std::int64_t classes, float* probabilities, const LossRule& rule = {});
void softmax_cross_entropy_backward(const float* probabilities, const float* distributions, std::int64_t images,
                                    std::int64_t classes, double label_weight, float* gradient,
                                    const LossRule& rule = {});

/// The sum over k of the binary cross-entropies, in nats, of [label > k] (Cao et al. 2020, CORAL). The logits {images,
/// classes - 1} are those of P(class > k), and the probabilities of the classes are the differences of these. Labels,
/// distributions, smoothing and class weights are as for softmax_cross_entropy, with that sum for the label c in place
/// of -log(probability[c]). An image is predicted correctly if coral_class() is the label.
/// @param probabilities {images, classes}; may be null.
LossSums coral_loss(const float* logits, const std::int32_t* labels, std::int64_t images, std::int64_t classes,
                    float* probabilities, const LossRule& rule = {});
LossSums coral_loss(const float* logits, const float* distributions, std::int64_t images, std::int64_t classes,
                    float* probabilities, const LossRule& rule = {});
/// gradient[n, k] = (sigmoid(logits[n, k]) * sum(target) - sum of target[c] over c > k) * rule.weight / label_weight.
void coral_loss_backward(const float* logits, const std::int32_t* labels, std::int64_t images, std::int64_t classes,
                         double label_weight, float* gradient, const LossRule& rule = {});
void coral_loss_backward(const float* logits, const float* distributions, std::int64_t images, std::int64_t classes,
                         double label_weight, float* gradient, const LossRule& rule = {});
/// The class that an image's logits predict: the number of logits above 0, the probabilities above 0.5.
std::int32_t coral_class(const float* logits, std::int64_t classes);

/// Sigmoid and binary cross-entropy in nats of each output, as PyTorch's binary_cross_entropy_with_logits. A value is
/// predicted correctly if it and the probability are on the same side of 0.5, which itself counts as above.
/// @param targets {images, outputs}, from 0 to 1, or NaN where there is none; null: there is none at all.
/// @param probabilities {images, outputs}; may be null.
LossSums binary_cross_entropy(const float* logits, const float* targets, std::int64_t images, std::int64_t outputs,
                              float* probabilities);
/// gradient = (probabilities - targets) * rule.weight / present; 0 where there is no target.
/// @param present LossSums::weight.
void binary_cross_entropy_backward(const float* probabilities, const float* targets, std::int64_t images,
                                   std::int64_t outputs, double present, float* gradient, const LossRule& rule = {});

/// Squared error of each output. Nothing counts as correct.
/// @param targets {images, outputs}, or NaN where there is none; null: there is none at all.
LossSums mean_squared_error(const float* values, const float* targets, std::int64_t images, std::int64_t outputs);
/// gradient = 2 * (values - targets) * rule.weight / present; 0 where there is no target.
/// @param present LossSums::weight.
void mean_squared_error_backward(const float* values, const float* targets, std::int64_t images, std::int64_t outputs,
                                 double present, float* gradient, const LossRule& rule = {});

}  // namespace facet::kernels
