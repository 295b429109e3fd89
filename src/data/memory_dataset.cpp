#include <fmt/format.h>

#include "facet/data.h"
#include "facet/error.h"

namespace facet {

MemoryDataset::MemoryDataset(std::vector<Head> heads) : heads_(std::move(heads)) {}

void MemoryDataset::add(Image image, std::vector<std::int32_t> labels) {
  const std::string name = this->name(size());
  if (image.width < 1 || image.height < 1 ||
      image.pixels.size() != static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3) {
    throw Error(fmt::format("{}: {} bytes of pixels for {}x{}; width x height x 3 are needed", name,
                            image.pixels.size(), image.width, image.height));
  }
  if (labels.size() != heads_.size()) {
    throw Error(fmt::format("{}: {} labels for {} heads", name, labels.size(), heads_.size()));
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto classes = static_cast<std::int32_t>(heads_[i].classes.size());
    if (labels[i] != no_label && (labels[i] < 0 || labels[i] >= classes)) {
      throw Error(fmt::format("{}: head '{}': label {}; 0 to {} are allowed, and {} for none", name, heads_[i].name,
                              labels[i], classes - 1, no_label));
    }
  }
  images_.push_back(std::move(image));
  labels_.insert(labels_.end(), labels.begin(), labels.end());
}

std::int64_t MemoryDataset::size() const { return static_cast<std::int64_t>(images_.size()); }

const std::vector<Head>& MemoryDataset::heads() const { return heads_; }

std::span<const std::int32_t> MemoryDataset::labels(std::int64_t index) const {
  return std::span(labels_).subspan(static_cast<std::size_t>(index) * heads_.size(), heads_.size());
}

void MemoryDataset::load(std::int64_t index, int size, std::span<std::uint8_t> pixels) const {
  resize(images_[static_cast<std::size_t>(index)], size, pixels);
}

std::string MemoryDataset::name(std::int64_t index) const { return fmt::format("image {}", index); }

}  // namespace facet
