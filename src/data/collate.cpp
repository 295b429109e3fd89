#include "data/collate.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "data/labels.h"
#include "data/stage_clock.h"

namespace facet::data {

Collator::Collator(const Dataset& dataset, const Transforms& transforms)
    : dataset_(dataset), heads_(dataset.heads()), transforms_(transforms), mixes_(transforms.augmentation.mixes()) {}

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
  const StageTimer timer(Stage::collate);
  const std::size_t count = group.images.size();
  const auto request_of = [&](std::size_t i) {
    return transforms_.request(group.images[i], epoch, group.occurrences.empty() ? 0 : group.occurrences[i]);
  };
  const auto position = [&](std::size_t i) { return group.position + static_cast<std::int64_t>(i); };
  const auto is_own = [&](std::size_t i) { return position(i) >= 0 && position(i) < batch.size; };
  const Mix mix = draw_mix(request_of(0), count, transforms_.augmentation);

  const ScratchPool::Lease scratch = scratches_.borrow();
  std::array<std::span<std::uint8_t>, mix_group> pixels;
  std::array<std::vector<std::uint8_t>, mix_group> of_others;  // partners of own images
  for (std::size_t i = 0; i < count; ++i) {
    if (is_own(i)) {
      pixels[i] = std::span(batch.pixels).subspan(static_cast<std::size_t>(position(i)) * pixel_bytes(), pixel_bytes());
    } else if (is_own(mix.partner_of(i, count))) {
      pixels[i] = of_others[i] = scratch->take(pixel_bytes());
    } else {
      continue;
    }
    const LoadRequest request = request_of(i);
    require_labels(dataset_.name(request.index), dataset_.labels(request.index), heads_);
    dataset_.load(request, pixels[i]);
    timed(Stage::transforms, [&] { transforms_.apply(request, pixels[i], *scratch); });
  }
  timed(Stage::transforms, [&] { mix_images(std::span(pixels).first(count), transforms_.size, mix, *scratch); });
  for (std::vector<std::uint8_t>& other : of_others) {
    if (!other.empty()) scratch->give(std::move(other));
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (!is_own(i)) continue;
    load_labels(batch, static_cast<std::size_t>(position(i)), mix, group.images[mix.partner(i, count)]);
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
      if (mix.shift == 0) continue;
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
