#include "inference/evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "kernels/loss.h"

namespace facet::inference {

NotFinite::NotFinite(const std::string& head, std::int64_t image, std::int64_t images)
    : Error(fmt::format("head {}: the logits of image {} of {} aren't finite", head, image + 1, images),
            ErrorCode::non_finite),
      head_(head),
      image_(image) {}

void read_predictions(const program::Program& program, const std::vector<Head>& heads,
                      std::vector<HeadPrediction>& predictions) {
  const std::span<const program::HeadView> views = program.heads();
  predictions.resize(views.size());
  const auto images = static_cast<std::size_t>(program.options().batch);
  for (std::size_t head = 0; head < views.size(); ++head) {
    const program::HeadView& view = views[head];
    HeadPrediction& prediction = predictions[head];
    prediction.logits.assign(view.logits.begin(), view.logits.end());
    prediction.probabilities.assign(view.probabilities.begin(), view.probabilities.end());
    prediction.predicted.resize(images);
    const std::size_t classes = view.logits.size() / images;
    for (std::size_t image = 0; image < images; ++image) {
      const std::span<const float> logits = view.logits.subspan(image * classes, classes);
      if (!std::all_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); })) {
        throw NotFinite(heads[head].name, static_cast<std::int64_t>(image), program.options().batch);
      }
      prediction.predicted[image] =
          static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    }
  }
}

Evaluation::Evaluation(const std::vector<Head>& heads) : heads_(heads) {
  for (const Head& head : heads) meters_.emplace_back(head);
}

void Evaluation::add(const Batch& batch, const std::vector<HeadPrediction>& predictions) {
  const auto images = static_cast<std::size_t>(batch.size);
  for (std::size_t head = 0; head < meters_.size(); ++head) {
    const HeadPrediction& prediction = predictions[head];
    const std::span<const std::int32_t> labels(batch.labels.data() + head * images, images);
    const auto classes = static_cast<std::int64_t>(heads_[head].classes.size());
    const kernels::LossSums sums =
        kernels::softmax_cross_entropy(prediction.logits.data(), labels.data(), batch.size, classes, nullptr);
    meters_[head].add(labels, prediction.predicted, sums.loss);
  }
}

std::vector<HeadResult> Evaluation::results() const {
  std::vector<HeadResult> results;
  for (const HeadMeter& meter : meters_) results.push_back(meter.result());
  return results;
}

}  // namespace facet::inference
