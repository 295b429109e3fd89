#include "data/collate.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "data/labels.h"

namespace facet::data {

Collator::Collator(const Dataset& dataset, const Transforms& transforms)
    : dataset_(dataset),
      heads_(dataset.heads()),
      transforms_(transforms),
      mixes_(transforms.augmentation.mixup.value_or(0) > 0 || transforms.augmentation.cutmix.value_or(0) > 0) {}

std::size_t Collator::pixel_bytes() const {
  return static_cast<std::size_t>(transforms_.size.height) * static_cast<std::size_t>(transforms_.size.width) * 3;
}

std::size_t Collator::image_bytes() const {
  std::size_t bytes = pixel_bytes() + sizeof(std::int64_t) + heads_.size() * sizeof(std::int32_t);
  for (std::size_t h = 0; h < heads_.size(); ++h) {
    if (has_targets(h)) bytes += heads_[h].classes.size() * sizeof(float);
  }
  return bytes;
}

void Collator::reserve(Batch& batch, std::int64_t images) const {
  const auto count = static_cast<std::size_t>(images);
  batch.pixels.reserve(count * pixel_bytes());
  batch.labels.reserve(count * heads_.size());
  batch.targets.resize(heads_.size());
  for (std::size_t h = 0; h < heads_.size(); ++h) {
    if (has_targets(h)) batch.targets[h].reserve(count * heads_[h].classes.size());
  }
  batch.indices.reserve(count);
}

void Collator::begin(Batch& batch, std::span<const std::int64_t> indices) const {
  batch.size = std::ssize(indices);
  batch.pixels.resize(indices.size() * pixel_bytes());
  batch.labels.resize(indices.size() * heads_.size());
  batch.targets.resize(heads_.size());
  for (std::size_t h = 0; h < heads_.size(); ++h) {
    if (has_targets(h)) batch.targets[h].resize(indices.size() * heads_[h].classes.size());
  }
  batch.indices.assign(indices.begin(), indices.end());
}

void Collator::load(Batch& batch, const ImageGroup& group, std::int64_t epoch) const {
  const std::int64_t count = std::ssize(group.images);
  const auto request_of = [&](std::size_t i) {
    return transforms_.request(group.images[i], epoch, group.occurrences.empty() ? 0 : group.occurrences[i]);
  };
  const auto is_own = [&](std::int64_t i) { return group.position + i >= 0 && group.position + i < batch.size; };
  std::int64_t others = 0;
  for (std::int64_t i = 0; i < count; ++i) others += is_own(i) ? 0 : 1;

  const ScratchPool::Lease scratch = scratches_.borrow();
  std::vector<std::uint8_t> other_pixels = scratch->take(static_cast<std::size_t>(others) * pixel_bytes());
  std::span<std::uint8_t> other_left = other_pixels;
  std::array<std::span<std::uint8_t>, mix_group> pixels;
  for (std::int64_t i = 0; i < count; ++i) {
    const LoadRequest request = request_of(static_cast<std::size_t>(i));
    require_labels(dataset_.name(request.index), dataset_.labels(request.index), heads_);
    std::span<std::uint8_t>& out = pixels[static_cast<std::size_t>(i)];
    if (is_own(i)) {
      out =
          std::span(batch.pixels).subspan(static_cast<std::size_t>(group.position + i) * pixel_bytes(), pixel_bytes());
    } else {
      out = other_left.first(pixel_bytes());
      other_left = other_left.subspan(pixel_bytes());
    }
    dataset_.load(request, out);
    transforms_.apply(request, out, *scratch);
  }
  const Mix mix = draw_mix(request_of(0), group.images.size(), transforms_.augmentation);
  mix_images(std::span(pixels).first(group.images.size()), transforms_.size, mix, *scratch);
  scratch->give(std::move(other_pixels));
  for (std::int64_t i = 0; i < count; ++i) {
    if (!is_own(i)) continue;
    const std::size_t partner = mix.partner(static_cast<std::size_t>(i), group.images.size());
    load_labels(batch, static_cast<std::size_t>(group.position + i), mix, group.images[partner]);
  }
}

void Collator::load_targets(std::int64_t image, std::size_t head, std::span<float> values) const {
  std::ranges::fill(values, std::numeric_limits<float>::quiet_NaN());
  dataset_.targets(image, head, values);
}

void Collator::load_labels(Batch& batch, std::size_t position, const Mix& mix, std::int64_t partner) const {
  const std::int64_t image = batch.indices[position];
  const std::span<const std::int32_t> labels = dataset_.labels(image);
  for (std::size_t h = 0; h < heads_.size(); ++h) {
    batch.labels[h * batch.indices.size() + position] = labels[h];
    if (!has_targets(h)) continue;
    const std::size_t outputs = heads_[h].classes.size();
    const std::span<float> values = std::span(batch.targets[h]).subspan(position * outputs, outputs);
    if (dataset_.has_targets(h)) {
      load_targets(image, h, values);
      if (mix.own >= 1) continue;
      std::vector<float> other(outputs);
      load_targets(partner, h, other);
      mix_values(values, other, mix.own);
    } else {
      std::ranges::fill(values, std::numeric_limits<float>::quiet_NaN());
      add_label(values, labels[h], mix.own);
      add_label(values, dataset_.labels(partner)[h], 1 - mix.own);
    }
  }
}

std::size_t held_bytes(const Batch& batch) {
  std::size_t bytes = batch.pixels.capacity() + batch.labels.capacity() * sizeof(std::int32_t) +
                      batch.indices.capacity() * sizeof(std::int64_t);
  for (const std::vector<float>& values : batch.targets) bytes += values.capacity() * sizeof(float);
  return bytes;
}

}  // namespace facet::data
