#include "data/jpeg.h"

#include <fmt/format.h>
#include <turbojpeg.h>

#include <algorithm>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include "base/machine.h"
#include "base/text.h"
#include "data/jpeg_header.h"
#include "data/read_file.h"
#include "facet/error.h"

namespace facet {
namespace data {
namespace {

// Larger ones are taken for an attack or an accident. Each loader thread decodes an image of its own.
constexpr std::uint64_t most_file_bytes = std::uint64_t{1} << 30;
constexpr std::int64_t most_memory = std::int64_t{1} << 31;
/// Of an image that takes more, what the machine has is asked first; for every image that would cost too much time.
constexpr std::int64_t much_memory = std::int64_t{1} << 27;

struct HandleDeleter {
  void operator()(void* handle) const { tjDestroy(handle); }
};
using Handle = std::unique_ptr<void, HandleDeleter>;

/// 1, 2, 4 or 8: the largest that leaves both sides at least `size` (PIL's Image.draft has the same rule).
int reduction(const JpegHeader& header, int size) {
  if (size < 1) return 1;
  const int ratio = std::min(header.width / size, header.height / size);
  for (const int by : {8, 4, 2}) {
    if (ratio >= by) return by;
  }
  return 1;
}

/// Bytes that decoding takes beside the file's own, at its peak.
/// @param pixels of the decoded image, which may be reduced.
std::int64_t memory_needed(const JpegHeader& header, std::int64_t pixels) {
  const std::int64_t full = std::int64_t{header.width} * header.height;
  const std::int64_t coefficients = header.many_scans ? full * header.components * 2 : 0;
  const std::int64_t cmyk = header.components == 4 ? pixels * 4 : 0;
  const std::int64_t upright_copy = header.orientation > 1 ? pixels * 3 : 0;
  return pixels * 3 + std::max(coefficients + cmyk, upright_copy);
}

[[noreturn]] void fail(std::string_view message) {
  if (message.find("Insufficient memory") != std::string_view::npos) throw std::bad_alloc();
  const bool truncated = message.find("Premature end of JPEG file") != std::string_view::npos;
  throw Error(fmt::format("{} JPEG: {}", truncated ? "truncated" : "corrupt", message));
}

/// libjpeg-turbo's decoder, at a JPEG held in memory.
class Decoder {
 public:
  explicit Decoder(std::span<const std::uint8_t> bytes) : bytes_(bytes), handle_(tjInitDecompress()) {
    if (!handle_) throw std::bad_alloc();
    int subsampling = 0;
    int colours = 0;
    if (tjDecompressHeader3(handle_.get(), bytes_.data(), static_cast<unsigned long>(bytes_.size()), &width_, &height_,
                            &subsampling, &colours) != 0 &&
        width_ < 1) {  // else it has no name for the sampling, but decodes it
      fail(tjGetErrorStr2(handle_.get()));
    }
  }

  /// In full, as the decoder has it: buffers take no other number's word.
  int width() const { return width_; }
  int height() const { return height_; }

  /// @param pixels {height, width, channels of the format}.
  void decode(int width, int height, int format, std::span<std::uint8_t> pixels) {
    constexpr int flags = TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS;
    if (tjDecompress2(handle_.get(), bytes_.data(), static_cast<unsigned long>(bytes_.size()), pixels.data(), width, 0,
                      height, format, flags) != 0) {
      fail(tjGetErrorStr2(handle_.get()));
    }
  }

 private:
  std::span<const std::uint8_t> bytes_;
  Handle handle_;
  int width_ = 0;
  int height_ = 0;
};

std::uint8_t product(int a, int b) { return static_cast<std::uint8_t>((a * b + 127) / 255); }

/// Ink to light, without a colour profile: each of R, G, B is (1 - ink) (1 - black), as PIL has it.
/// @param inverted the values tell how much light is left, not how much ink there is (Adobe's convention).
void cmyk_to_rgb(std::span<const std::uint8_t> cmyk, bool inverted, std::span<std::uint8_t> rgb) {
  const int flip = inverted ? 0 : 0xFF;
  for (std::size_t i = 0; i * 3 < rgb.size(); ++i) {
    const std::uint8_t* from = &cmyk[i * 4];
    const int light = from[3] ^ flip;
    for (std::size_t c = 0; c < 3; ++c) rgb[i * 3 + c] = product(from[c] ^ flip, light);
  }
}

}  // namespace

Image decode_jpeg(std::span<std::uint8_t> bytes, int size) {
  const JpegHeader header = read_jpeg_header(bytes);
  const tjscalingfactor scale{1, reduction(header, size)};
  const std::int64_t memory =
      memory_needed(header, std::int64_t{TJSCALED(header.width, scale)} * TJSCALED(header.height, scale));
  if (memory > most_memory) {
    throw Error(fmt::format("{}x{} pixels take {} bytes of memory to decode; at most {} are allowed", header.width,
                            header.height, memory, most_memory));
  }
  if (memory > much_memory) {
    if (const std::int64_t available = base::available_memory(); memory > available) {
      throw Error(fmt::format("{}x{} pixels take {} bytes of memory to decode; {} are available", header.width,
                              header.height, memory, available));
    }
  }
  Decoder decoder(bytes);
  if (decoder.width() != header.width || decoder.height() != header.height) {
    throw Error(fmt::format("corrupt JPEG: {}x{} by its header, {}x{} to libjpeg-turbo", header.width, header.height,
                            decoder.width(), decoder.height()));
  }
  Image image{.width = TJSCALED(decoder.width(), scale), .height = TJSCALED(decoder.height(), scale), .pixels = {}};
  const auto count = static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
  image.pixels.resize(count * 3);
  if (header.components == 4) {
    std::vector<std::uint8_t> cmyk(count * 4);
    decoder.decode(image.width, image.height, TJPF_CMYK, cmyk);
    cmyk_to_rgb(cmyk, header.adobe, image.pixels);
  } else {
    decoder.decode(image.width, image.height, TJPF_RGB, image.pixels);
  }
  return upright(std::move(image), header.orientation);
}

Image decode_jpeg_file(const std::filesystem::path& file, int size) {
  std::vector<std::uint8_t> bytes = read_file(file, most_file_bytes, jpeg_start);
  return decode_jpeg(bytes, size);
}

Image upright(Image image, int orientation) {
  if (orientation < 2 || orientation > 8) return image;
  const bool swaps_axes = orientation >= 5;
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image turned{.width = swaps_axes ? image.height : image.width,
               .height = swaps_axes ? image.width : image.height,
               .pixels = std::vector<std::uint8_t>(image.pixels.size())};
  std::uint8_t* to = turned.pixels.data();
  for (int y = 0; y < turned.height; ++y) {
    for (int x = 0; x < turned.width; ++x) {
      const int across = swaps_axes ? y : x;
      const int down = swaps_axes ? x : y;
      const int from_x = from_right ? image.width - 1 - across : across;
      const int from_y = from_below ? image.height - 1 - down : down;
      const auto from = 3 * (static_cast<std::size_t>(from_y) * static_cast<std::size_t>(image.width) +
                             static_cast<std::size_t>(from_x));
      for (std::size_t c = 0; c < 3; ++c) *to++ = image.pixels[from + c];
    }
  }
  return turned;
}

}  // namespace data

Image read_jpeg(const std::filesystem::path& file, int size) {
  try {
    return data::decode_jpeg_file(file, size);
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", base::printable(file.string()), error.what()));
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("{}: out of memory while it is decoded", base::printable(file.string())));
  }
}

}  // namespace facet
