#include "inference/views.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

#include "data/decode/resize.h"
#include "data/transforms/mirror.h"
#include "facet/error.h"
#include "inference/evaluation.h"
#include "kernels/sigmoid.h"

namespace facet {

std::string_view to_string(TestTimeAugmentation augmentation) {
  switch (augmentation) {
    case TestTimeAugmentation::none:
      return "none";
    case TestTimeAugmentation::flip:
      return "flip";
    case TestTimeAugmentation::crops:
      return "crops";
  }
  throw Error(fmt::format("the test-time augmentation is {}; none, flip and crops are allowed",
                          static_cast<int>(augmentation)));
}

namespace inference {
namespace {

constexpr int crops = 5;

/// The logarithm of a probability, finite for 0 too.
double log_of(double probability) { return std::log(std::max(probability, std::numeric_limits<double>::min())); }

/// Adds the softmax of the logits of an image.
void add_softmax(std::span<const float> logits, std::span<double> sums) {
  const double largest = *std::ranges::max_element(logits);
  double total = 0;
  for (const float logit : logits) total += std::exp(logit - largest);
  for (std::size_t i = 0; i < logits.size(); ++i) sums[i] += std::exp(logits[i] - largest) / total;
}

/// Returns the logit of a probability, or what takes its place for losses without probabilities.
/// @param against 1 - probability, for losses of sigmoids.
double logit_of(LossKind kind, double probability, double against) {
  switch (kind) {
    case LossKind::softmax_cross_entropy:
      return log_of(probability);
    case LossKind::binary_cross_entropy:
    case LossKind::coral:
      return log_of(probability) - log_of(against);
    default:
      return probability;
  }
}

}  // namespace

Views::Views(TestTimeAugmentation kind, const ModelInfo& info)
    : kind_(kind), size_(info.size), loaded_(info.size), resize_(info.resize) {
  to_string(kind);  // throws for another value
  if (kind == TestTimeAugmentation::crops) loaded_ = covered_size(info.size, ResizeMode::crop);
}

int Views::count() const {
  switch (kind_) {
    case TestTimeAugmentation::flip:
      return 2;
    case TestTimeAugmentation::crops:
      return 2 * crops;
    default:
      return 1;
  }
}

ResizeMode Views::loaded_resize() const {
  return kind_ == TestTimeAugmentation::crops && resize_ == ResizeMode::crop ? ResizeMode::cover : resize_;
}

std::span<const std::uint8_t> Views::view(int view, std::span<const std::uint8_t> pixels, std::int64_t images) {
  if (view == 0 && kind_ != TestTimeAugmentation::crops) return pixels;
  const int down = loaded_.height - size_.height, across = loaded_.width - size_.width;
  const auto half = [](int excess) { return static_cast<int>(data::crop_offset(excess)); };
  const std::array<std::array<int, 2>, crops> corners{
      {{0, 0}, {0, across}, {down, 0}, {down, across}, {half(down), half(across)}}};
  const bool mirrored = view >= count() / 2;
  const auto [top, left] = corners[static_cast<std::size_t>(view % (count() / 2))];
  const std::size_t row = static_cast<std::size_t>(size_.width) * 3;
  const std::size_t loaded_row = static_cast<std::size_t>(loaded_.width) * 3;
  pixels_.resize(static_cast<std::size_t>(images) * static_cast<std::size_t>(size_.height) * row);
  std::uint8_t* out = pixels_.data();
  for (std::int64_t image = 0; image < images; ++image) {
    const std::uint8_t* in =
        pixels.data() + static_cast<std::size_t>(image) * static_cast<std::size_t>(loaded_.height) * loaded_row;
    for (int y = 0; y < size_.height; ++y, out += row) {
      std::copy_n(in + static_cast<std::size_t>(top + y) * loaded_row + static_cast<std::size_t>(left) * 3, row, out);
    }
  }
  if (mirrored) data::mirror(pixels_, size_.width);
  return pixels_;
}

void MeanPrediction::begin() {
  views_ = 0;
  for (auto* sums : {&sums_, &for_, &against_}) sums->resize(heads_.size());
}

void MeanPrediction::add(const std::vector<HeadPrediction>& view) {
  for (std::size_t head = 0; head < heads_.size(); ++head) {
    const auto& [logits, probabilities, predicted] = view[head];
    if (views_ == 0) {
      sums_[head].assign(probabilities.size(), 0);
      for_[head].assign(logits.size(), 0);
      against_[head].assign(logits.size(), 0);
    }
    for (std::size_t i = 0; i < probabilities.size(); ++i) sums_[head][i] += probabilities[i];
    const HeadOutput& output = graph_.heads()[head];
    const auto outputs = static_cast<std::size_t>(output.logit_count());
    switch (output.kind) {
      case LossKind::softmax_cross_entropy:
        for (std::size_t i = 0; i < logits.size(); i += outputs) {
          add_softmax(std::span(logits).subspan(i, outputs), std::span(for_[head]).subspan(i, outputs));
        }
        break;
      case LossKind::binary_cross_entropy:
      case LossKind::coral:
        for (std::size_t i = 0; i < logits.size(); ++i) {
          for_[head][i] += kernels::sigmoid(logits[i]);
          against_[head][i] += kernels::sigmoid(-double{logits[i]});
        }
        break;
      default:
        for (std::size_t i = 0; i < logits.size(); ++i) for_[head][i] += logits[i];
    }
  }
  ++views_;
}

const std::vector<HeadPrediction>& MeanPrediction::result() {
  mean_.resize(heads_.size());
  for (std::size_t head = 0; head < heads_.size(); ++head) {
    const HeadOutput& output = graph_.heads()[head];
    const auto outputs = static_cast<std::size_t>(output.logit_count());
    HeadPrediction& mean = mean_[head];
    mean.probabilities.clear();
    for (const double sum : sums_[head]) mean.probabilities.push_back(static_cast<float>(sum / views_));
    mean.logits.clear();
    for (std::size_t i = 0; i < for_[head].size(); ++i) {
      mean.logits.push_back(
          static_cast<float>(logit_of(output.kind, for_[head][i] / views_, against_[head][i] / views_)));
    }
    mean.predicted.clear();
    for (std::size_t i = 0; i < mean.logits.size(); i += outputs) {
      mean.predicted.push_back(predicted_class(heads_[head], std::span(mean.logits).subspan(i, outputs)));
    }
  }
  return mean_;
}

}  // namespace inference
}  // namespace facet
