#include "data/jpeg_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "facet/error.h"

namespace facet::data {
namespace {

// Markers of ITU-T T.81, table B.1.
constexpr int end_of_image = 0xD9;
constexpr int start_of_scan = 0xDA;
constexpr int define_hierarchical_progression = 0xDE;
constexpr int app1 = 0xE1;
constexpr int app14 = 0xEE;
// Of ITU-T T.87.
constexpr int jpeg_ls_frame = 0xF7;

/// Bits of a sample, a channel's value.
constexpr int sample_bits = 8;

bool stands_alone(int marker) { return marker == 0x01 || (marker >= 0xD0 && marker <= 0xD7); }
bool starts_frame(int marker) {
  return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

/// What is wrong with a frame that isn't one of blocks of 8-bit samples; empty where nothing is. libjpeg-turbo 3
/// decodes lossless frames, but never at a reduced size.
std::string_view unsupported(int marker) {
  switch (marker) {
    case 0xC3:
    case 0xCB:
      return "a lossless JPEG";
    case 0xC7:
    case 0xCF:
      return "a lossless, hierarchical JPEG";
    case 0xC5:
    case 0xC6:
    case 0xCD:
    case 0xCE:
    case define_hierarchical_progression:
      return "a hierarchical JPEG";
    case jpeg_ls_frame:
      return "a JPEG-LS";
    default:
      return {};
  }
}

bool is_sequential(int frame) { return frame == 0xC0 || frame == 0xC1; }

int big_endian(std::span<const std::uint8_t> bytes, std::size_t at) { return bytes[at] << 8 | bytes[at + 1]; }

bool starts_with(std::span<const std::uint8_t> bytes, std::string_view text) {
  return bytes.size() >= text.size() && std::equal(text.begin(), text.end(), bytes.begin());
}

void read_frame(std::span<const std::uint8_t> payload, JpegHeader& header) {
  if (payload.size() < 6) throw Error("corrupt JPEG: its frame header is too short");
  if (payload[0] != sample_bits) {
    throw Error(fmt::format("a JPEG of {} bits a sample; {} are allowed", payload[0], sample_bits));
  }
  header.height = big_endian(payload, 1);
  header.width = big_endian(payload, 3);
  header.components = payload[5];
  if (header.width == 0 || header.height == 0) {
    throw Error(fmt::format("corrupt JPEG: its frame is {}x{}", header.width, header.height));
  }
}

void mend_scan(std::span<std::uint8_t> payload) {
  if (payload.size() < 3) return;
  const auto spectral = payload.last(3);
  spectral[0] = 0;
  spectral[1] = 63;
  spectral[2] = 0;
}

/// A TIFF structure, read with its own byte order; reads outside give 0.
class Tiff {
 public:
  explicit Tiff(std::span<const std::uint8_t> bytes) : bytes_(bytes), little_(starts_with(bytes, "II")) {}

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

JpegHeader read_jpeg_header(std::span<std::uint8_t> bytes) {
  if (bytes.empty()) throw Error("is empty");
  if (bytes.size() < jpeg_start.size() || !std::equal(jpeg_start.begin(), jpeg_start.end(), bytes.begin())) {
    throw Error("not a JPEG");
  }
  JpegHeader header;
  int frame = 0;
  bool oriented = false;
  for (std::size_t at = 2;;) {
    if (at < bytes.size() && bytes[at] != 0xFF) {
      throw Error(fmt::format("corrupt JPEG: no marker where one must be, at byte {}", at));
    }
    while (at < bytes.size() && bytes[at] == 0xFF) ++at;
    if (at == bytes.size()) throw Error("truncated JPEG: it ends within its header");
    const int marker = bytes[at++];
    if (stands_alone(marker)) continue;
    if (marker == end_of_image) throw Error("corrupt JPEG: it holds no image");
    if (bytes.size() - at < 2) throw Error("truncated JPEG: it ends within its header");
    const auto length = static_cast<std::size_t>(big_endian(bytes, at));
    if (length < 2) throw Error(fmt::format("corrupt JPEG: a segment of {} bytes at byte {}", length, at));
    if (bytes.size() - at < length) throw Error("truncated JPEG: it ends within its header");
    const auto payload = bytes.subspan(at + 2, length - 2);
    at += length;

    if (const std::string_view kind = unsupported(marker); !kind.empty()) {
      throw Error(
          fmt::format("{} (marker 0x{:02X}); baseline, extended and progressive JPEGs are allowed", kind, marker));
    }
    if (starts_frame(marker)) {
      frame = marker;
      read_frame(payload, header);
    } else if (marker == app14 && starts_with(payload, "Adobe")) {
      header.adobe = true;
    } else if (marker == app1 && !oriented && starts_with(payload, std::string_view("Exif\0\0", 6))) {
      header.orientation = exif_orientation(payload);
      oriented = true;
    } else if (marker == start_of_scan) {
      if (frame == 0) throw Error("corrupt JPEG: a scan without a frame");
      header.many_scans = !is_sequential(frame) || payload.empty() || payload[0] < header.components;
      if (is_sequential(frame)) mend_scan(payload);
      return header;
    }
  }
}

int exif_orientation(std::span<const std::uint8_t> block) {
  if (!starts_with(block, std::string_view("Exif\0\0", 6))) return 1;
  constexpr std::uint32_t orientation_tag = 0x0112;
  constexpr std::uint32_t type_short = 3;
  constexpr std::uint32_t type_long = 4;
  const Tiff tiff(block.subspan(6));
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

}  // namespace facet::data
