#include <cstddef>
#include <utility>

#include "data/decode/decode.h"

namespace facet::data {
namespace {

/// A TIFF structure, read in its own byte order. Out-of-range reads return 0.
class Tiff {
 public:
  explicit Tiff(std::span<const std::uint8_t> bytes)
      : bytes_(bytes), little_(bytes.size() >= 2 && bytes[0] == 'I' && bytes[1] == 'I') {}

  bool is_valid() const {
    constexpr std::uint32_t magic = 42;
    return bytes_.size() >= 2 && bytes_[0] == bytes_[1] && (little_ || bytes_[0] == 'M') && u16(2) == magic;
  }
  std::uint32_t u16(std::size_t at) const { return number(at, 2); }
  std::uint32_t u32(std::size_t at) const { return number(at, 4); }

 private:
  std::uint32_t number(std::size_t at, std::size_t count) const {
    if (at > bytes_.size() || bytes_.size() - at < count) return 0;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < count; ++i) value = value << 8 | bytes_[at + (little_ ? count - 1 - i : i)];
    return value;
  }

  std::span<const std::uint8_t> bytes_;
  bool little_;
};

}  // namespace

int exif_orientation(std::span<const std::uint8_t> block) {
  constexpr std::size_t prefix = 6;
  if (block.size() >= prefix && block[0] == 'E') block = block.subspan(prefix);
  constexpr std::uint32_t orientation_tag = 0x0112;
  constexpr std::uint32_t type_short = 3;
  constexpr std::uint32_t type_long = 4;
  const Tiff tiff(block);
  if (!tiff.is_valid()) return 1;
  const std::size_t directory = tiff.u32(4);
  const std::size_t entries = tiff.u16(directory);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;
    if (tiff.u16(entry) != orientation_tag) continue;
    const std::uint32_t type = tiff.u16(entry + 2);
    const std::uint32_t value = type == type_short ? tiff.u16(entry + 8) : type == type_long ? tiff.u32(entry + 8) : 1;
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image upright(Image image, int orientation, Scratch& scratch) {
  if (orientation < 2 || orientation > 8) return image;
  const bool swapped = swaps_axes(orientation);
  const bool right = begins_right(orientation), below = begins_below(orientation);
  Image turned{.width = swapped ? image.height : image.width,
               .height = swapped ? image.width : image.height,
               .pixels = scratch.take(image.pixels.size())};
  std::uint8_t* to = turned.pixels.data();
  for (int y = 0; y < turned.height; ++y) {
    for (int x = 0; x < turned.width; ++x) {
      const int across = swapped ? y : x;
      const int down = swapped ? x : y;
      const int from_x = right ? image.width - 1 - across : across;
      const int from_y = below ? image.height - 1 - down : down;
      const auto from = 3 * (static_cast<std::size_t>(from_y) * static_cast<std::size_t>(image.width) +
                             static_cast<std::size_t>(from_x));
      for (std::size_t c = 0; c < 3; ++c) *to++ = image.pixels[from + c];
    }
  }
  scratch.give(std::move(image.pixels));
  return turned;
}

}  // namespace facet::data
