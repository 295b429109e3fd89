#include <fmt/format.h>

#include "data/labels.h"
#include "facet/dataset.h"
#include "facet/error.h"
#include "facet/image.h"

namespace facet {
namespace {

constexpr const char* set_name = "images in memory";

std::string image_name(std::int64_t index) { return fmt::format("image {}", index); }

}  // namespace

MemoryDataset::MemoryDataset(std::vector<Head> heads) : heads_(std::move(heads)) {
  require_named_heads(set_name, heads_);
}

void MemoryDataset::add(Image image, std::vector<std::int32_t> labels) {
  const std::string name = image_name(size());
  if (image.width < 1 || image.height < 1 ||
      image.pixels.size() != static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3) {
    throw Error(fmt::format("{}: an image of {}x{} has {} bytes of pixels; width x height x 3 are needed", name,
                            image.width, image.height, image.pixels.size()));
  }
  data::require_labels(name, labels, heads_);
  images_.push_back(std::move(image));
  labels_.insert(labels_.end(), labels.begin(), labels.end());
}

std::int64_t MemoryDataset::size() const { return static_cast<std::int64_t>(images_.size()); }

const std::vector<Head>& MemoryDataset::heads() const { return heads_; }

std::span<const std::int32_t> MemoryDataset::labels(std::int64_t index) const {
  data::require_index(set_name, index, size());
  return std::span(labels_).subspan(static_cast<std::size_t>(index) * heads_.size(), heads_.size());
}

void MemoryDataset::load(std::int64_t index, int size, ResizeMode mode, std::span<std::uint8_t> pixels) const {
  data::require_index(set_name, index, this->size());
  resize(images_[static_cast<std::size_t>(index)], size, mode, pixels);
}

std::string MemoryDataset::name(std::int64_t index) const {
  data::require_index(set_name, index, size());
  return image_name(index);
}

}  // namespace facet
