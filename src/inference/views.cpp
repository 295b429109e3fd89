#include "inference/views.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

#include "data/decode/resize.h"
#include "facet/error.h"
#include "inference/evaluation.h"

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
double log_of(double probability) { return std::log(std::max<double>(probability, std::numeric_limits<float>::min())); }

/// Writes the logits of an image whose probabilities are given.
/// @param logits for coral one fewer than probabilities.
void invert(LossKind kind, std::span<const double> probabilities, std::span<float> logits) {
  double below = 0;
  for (std::size_t c = 0; c < logits.size(); ++c) {
    const double p = probabilities[c];
    switch (kind) {
      case LossKind::softmax_cross_entropy:
        logits[c] = static_cast<float>(log_of(p));
        break;
      case LossKind::binary_cross_entropy:
        logits[c] = static_cast<float>(log_of(p) - log_of(1 - p));
        break;
      case LossKind::coral:
        below += p;
        logits[c] = static_cast<float>(log_of(1 - below) - log_of(below));
        break;
      default:
        logits[c] = static_cast<float>(p);
    }
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
  const auto half = [](int excess) { return static_cast<int>(std::nearbyint(excess / 2.0)); };  // as torchvision
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
  sums_.resize(heads_.size());
}

void MeanPrediction::add(const std::vector<HeadPrediction>& view) {
  for (std::size_t head = 0; head < heads_.size(); ++head) {
    const std::vector<float>& probabilities = view[head].probabilities;
    if (views_ == 0) sums_[head].assign(probabilities.size(), 0);
    for (std::size_t i = 0; i < probabilities.size(); ++i) sums_[head][i] += probabilities[i];
  }
  ++views_;
}

const std::vector<HeadPrediction>& MeanPrediction::result() {
  mean_.resize(heads_.size());
  for (std::size_t head = 0; head < heads_.size(); ++head) {
    const HeadOutput& output = graph_.heads()[head];
    const auto classes = static_cast<std::size_t>(output.classes);
    const std::size_t outputs = output.kind == LossKind::coral ? classes - 1 : classes;
    std::vector<double>& sums = sums_[head];
    const std::size_t images = sums.size() / classes;
    for (double& value : sums) value /= views_;
    HeadPrediction& mean = mean_[head];
    mean.probabilities.assign(sums.begin(), sums.end());
    mean.logits.resize(images * outputs);
    mean.predicted.resize(images);
    for (std::size_t image = 0; image < images; ++image) {
      const std::span<float> logits = std::span(mean.logits).subspan(image * outputs, outputs);
      invert(output.kind, std::span(sums).subspan(image * classes, classes), logits);
      mean.predicted[image] = predicted_class(heads_[head], logits);
    }
  }
  return mean_;
}

}  // namespace inference
}  // namespace facet
