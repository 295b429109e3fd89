#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "data/decode/resize.h"
#include "data/labels.h"
#include "data/transforms/transforms.h"
#include "facet/dataset.h"
#include "facet/error.h"
#include "facet/image.h"
#include "facet/text.h"

namespace facet {
namespace {

constexpr const char* set_name = "images in memory";

std::string image_name(std::int64_t index) { return fmt::format("image {}", index); }

void require_targets(const std::string& name, const std::vector<std::vector<float>>& targets,
                     const std::vector<Head>& heads) {
  if (targets.empty()) return;
  if (targets.size() != heads.size()) {
    throw Error(fmt::format("{}: targets of {} heads found; those of {} heads are needed, or none", name,
                            targets.size(), heads.size()),
                ErrorCode::invalid_data);
  }
  for (std::size_t head = 0; head < heads.size(); ++head) {
    const std::size_t needed = heads[head].classes.size();
    if (targets[head].empty() || targets[head].size() == needed) continue;
    throw Error(fmt::format("{}: {} targets of head '{}' found; {} are needed, or none", name, targets[head].size(),
                            printable(heads[head].name), needed),
                ErrorCode::invalid_data);
  }
}

}  // namespace

void resize(const Image& image, const LoadRequest& request, std::span<std::uint8_t> pixels) {
  const ImageSize whole(image.height, image.width);
  const std::optional<data::Region> crop = data::crop_of(request, whole);
  if (!crop) return resize(image, request.size, request.resize, pixels);
  data::Scratch scratch;
  data::resize_region(image, {.whole = whole}, *crop, request.size, pixels, scratch);
}

MemoryDataset::MemoryDataset(std::vector<Head> heads) : heads_(std::move(heads)), targets_(heads_.size()) {
  require_named_heads(set_name, heads_);
}

void MemoryDataset::add(Image image, std::vector<std::int32_t> labels, const std::vector<std::vector<float>>& targets) {
  const std::string name = image_name(size());
  if (image.width < 1 || image.height < 1 ||
      image.pixels.size() != static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3) {
    throw Error(fmt::format("{}: an image of {}x{} has {} bytes of pixels; width x height x 3 are needed", name,
                            image.width, image.height, image.pixels.size()));
  }
  data::require_labels(name, labels, heads_);
  require_targets(name, targets, heads_);
  for (std::size_t head = 0; head < heads_.size(); ++head) {
    const bool given = !targets.empty() && !targets[head].empty();
    if (!given && targets_[head].empty()) continue;
    const std::size_t outputs = heads_[head].classes.size();
    // Images without values have NaN.
    targets_[head].resize((images_.size() + 1) * outputs, std::numeric_limits<float>::quiet_NaN());
    if (given) std::ranges::copy(targets[head], targets_[head].end() - static_cast<std::ptrdiff_t>(outputs));
  }
  images_.push_back(std::move(image));
  labels_.insert(labels_.end(), labels.begin(), labels.end());
}

std::int64_t MemoryDataset::size() const { return static_cast<std::int64_t>(images_.size()); }

const std::vector<Head>& MemoryDataset::heads() const { return heads_; }

std::span<const std::int32_t> MemoryDataset::labels(std::int64_t index) const {
  data::require_index(set_name, index, size());
  return std::span(labels_).subspan(static_cast<std::size_t>(index) * heads_.size(), heads_.size());
}

bool MemoryDataset::has_targets(std::size_t head) const { return head < targets_.size() && !targets_[head].empty(); }

void MemoryDataset::targets(std::int64_t index, std::size_t head, std::span<float> values) const {
  data::require_index(set_name, index, size());
  if (!has_targets(head)) return;
  const std::size_t outputs = heads_[head].classes.size();
  if (values.size() != outputs) {
    throw Error(fmt::format("{}: room for {} targets of head '{}' found; {} are needed", set_name, values.size(),
                            printable(heads_[head].name), outputs));
  }
  std::ranges::copy(std::span(targets_[head]).subspan(static_cast<std::size_t>(index) * outputs, outputs),
                    values.begin());
}

void MemoryDataset::load(const LoadRequest& request, std::span<std::uint8_t> pixels) const {
  data::require_index(set_name, request.index, size());
  resize(images_[static_cast<std::size_t>(request.index)], request, pixels);
}

std::string MemoryDataset::name(std::int64_t index) const {
  data::require_index(set_name, index, size());
  return image_name(index);
}

}  // namespace facet
