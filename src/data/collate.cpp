#include "data/collate.h"

#include <algorithm>
#include <limits>

#include "data/labels.h"

namespace facet::data {

Collator::Collator(const Dataset& dataset, const Transforms& transforms)
    : dataset_(dataset), heads_(dataset.heads()), transforms_(transforms) {}

std::size_t Collator::pixel_bytes() const {
  return static_cast<std::size_t>(transforms_.size.height) * static_cast<std::size_t>(transforms_.size.width) * 3;
}

std::size_t Collator::image_bytes() const {
  std::size_t bytes = pixel_bytes() + sizeof(std::int64_t) + heads_.size() * sizeof(std::int32_t);
  for (std::size_t h = 0; h < heads_.size(); ++h) {
    if (dataset_.has_targets(h)) bytes += heads_[h].classes.size() * sizeof(float);
  }
  return bytes;
}

void Collator::reserve(Batch& batch, std::int64_t images) const {
  const auto count = static_cast<std::size_t>(images);
  batch.pixels.reserve(count * pixel_bytes());
  batch.labels.reserve(count * heads_.size());
  batch.targets.resize(heads_.size());
  for (std::size_t h = 0; h < heads_.size(); ++h) {
    if (dataset_.has_targets(h)) batch.targets[h].reserve(count * heads_[h].classes.size());
  }
  batch.indices.reserve(count);
}

void Collator::begin(Batch& batch, std::span<const std::int64_t> indices) const {
  batch.size = std::ssize(indices);
  batch.pixels.resize(indices.size() * pixel_bytes());
  batch.labels.resize(indices.size() * heads_.size());
  batch.targets.resize(heads_.size());
  for (std::size_t h = 0; h < heads_.size(); ++h) {
    if (dataset_.has_targets(h)) batch.targets[h].resize(indices.size() * heads_[h].classes.size());
  }
  batch.indices.assign(indices.begin(), indices.end());
}

void Collator::load(Batch& batch, std::int64_t position, std::int64_t epoch) const {
  const auto at = static_cast<std::size_t>(position);
  const LoadRequest request = transforms_.request(batch.indices[at], epoch);
  const std::span<const std::int32_t> labels = dataset_.labels(request.index);
  require_labels(dataset_.name(request.index), labels, heads_);
  const std::span<std::uint8_t> pixels = std::span(batch.pixels).subspan(at * pixel_bytes(), pixel_bytes());
  dataset_.load(request, pixels);
  transforms_.apply(request, pixels);
  for (std::size_t h = 0; h < labels.size(); ++h) {
    batch.labels[h * batch.indices.size() + at] = labels[h];
    if (batch.targets[h].empty()) continue;
    const std::size_t outputs = heads_[h].classes.size();
    const std::span<float> values = std::span(batch.targets[h]).subspan(at * outputs, outputs);
    std::ranges::fill(values, std::numeric_limits<float>::quiet_NaN());
    dataset_.targets(request.index, h, values);
  }
}

std::size_t held_bytes(const Batch& batch) {
  std::size_t bytes = batch.pixels.capacity() + batch.labels.capacity() * sizeof(std::int32_t) +
                      batch.indices.capacity() * sizeof(std::int64_t);
  for (const std::vector<float>& values : batch.targets) bytes += values.capacity() * sizeof(float);
  return bytes;
}

}  // namespace facet::data
