#include "inference/evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "kernels/loss.h"

namespace facet::inference {

LoaderOptions evaluation_loading(const ModelInfo& info, std::int64_t batch, int threads) {
  return {.batch = batch,
          .size = info.size,
          .resize = info.resize,
          .threads = threads,
          .shuffle = false,
          .flip = false,
          .drop_last = false};
}

NotFinite::NotFinite(const std::string& head, std::int64_t image, std::int64_t images)
    : Error(fmt::format("head {}: the logits of image {} of {} aren't finite", head, image + 1, images),
            ErrorCode::non_finite),
      head_(head),
      image_(image) {}

std::int32_t predicted_class(const Head& head, std::span<const float> logits) {
  if (head.ordinal) return kernels::coral_class(logits.data(), std::ssize(head.classes));
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

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
    const std::size_t outputs = view.logits.size() / images;
    for (std::size_t image = 0; image < images; ++image) {
      const std::span<const float> logits = view.logits.subspan(image * outputs, outputs);
      if (!std::all_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); })) {
        throw NotFinite(heads[head].name, static_cast<std::int64_t>(image), program.options().batch);
      }
      prediction.predicted[image] = predicted_class(heads[head], logits);
    }
  }
}

Evaluation::Evaluation(const std::vector<Head>& heads, const Graph& graph) : heads_(heads) {
  for (std::size_t head = 0; head < heads.size(); ++head) {
    const HeadOutput& output = graph.heads().at(head);
    const Node& node = graph.nodes()[static_cast<std::size_t>(output.loss)];
    auto loss = std::dynamic_pointer_cast<const ops::Loss>(node.op);
    if (loss == nullptr) throw Error(fmt::format("head {}: {} is no loss", output.name, node.op->kind()));
    meters_.emplace_back(heads[head], loss->loss_kind());
    losses_.push_back(std::move(loss));
  }
}

std::span<const std::int32_t> Evaluation::class_labels(std::size_t head, const Batch& batch) {
  const auto images = static_cast<std::size_t>(batch.size);
  if (head >= batch.targets.size() || batch.targets[head].empty()) {
    return {batch.labels.data() + head * images, images};
  }
  labels_.clear();
  const std::size_t classes = heads_[head].classes.size();
  for (std::size_t image = 0; image < images; ++image) {
    const std::span<const float> values = std::span(batch.targets[head]).subspan(image * classes, classes);
    const auto largest = std::max_element(values.begin(), values.end()) - values.begin();
    labels_.push_back(std::isnan(values[0]) ? no_label : static_cast<std::int32_t>(largest));
  }
  return labels_;
}

void Evaluation::add(const Batch& batch, const std::vector<HeadPrediction>& predictions) {
  const auto images = static_cast<std::size_t>(batch.size);
  for (std::size_t head = 0; head < meters_.size(); ++head) {
    const HeadPrediction& prediction = predictions[head];
    const std::span<const std::int32_t> labels(batch.labels.data() + head * images, images);
    const std::span<const float> values =
        head < batch.targets.size() ? std::span<const float>(batch.targets[head]) : std::span<const float>();
    const kernels::LossSums sums = losses_[head]->evaluate(prediction.logits, labels, values);
    if (predicts_class(losses_[head]->loss_kind())) {
      meters_[head].add(class_labels(head, batch), prediction.predicted, sums.loss);
    } else {
      meters_[head].add(sums.labelled, sums.correct, sums.loss);
    }
  }
}

std::vector<HeadResult> Evaluation::results(comm::Communicator& communicator) const {
  if (communicator.is_alone()) return results();
  std::vector<HeadResult> results;
  for (std::size_t head = 0; head < meters_.size(); ++head) {
    HeadMeter all(heads_[head], losses_[head]->loss_kind());
    for (const std::string& counts : communicator.gather(meters_[head].serialize())) all.merge(counts);
    results.push_back(all.result());
  }
  return results;
}

std::vector<HeadResult> Evaluation::results() const {
  std::vector<HeadResult> results;
  for (const HeadMeter& meter : meters_) results.push_back(meter.result());
  return results;
}

}  // namespace facet::inference
