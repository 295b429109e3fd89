#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "data/decode/scratch.h"
#include "facet/image.h"

namespace facet::data {

struct DecodedImage {
  Image image = {};
  std::string warning = {};  ///< a defect of the file that affects no pixel; empty: none
};

/// Decodes an image held in memory, as read_image does.
/// @param scratch provides the pixels' buffer, to which the caller may return it.
/// @throws Error that says what is wrong, without a file's name; std::bad_alloc when memory runs out.
DecodedImage decode_image(std::span<const std::uint8_t> bytes, ImageSize size, Scratch& scratch);
DecodedImage decode_image(std::span<const std::uint8_t> bytes, ImageSize size);

/// Reads a file that decode_image decodes; of a file of another format, the first bytes, from which decode_image
/// recognises it.
/// @throws Error that says why the file can't be read, without its name.
std::vector<std::uint8_t> read_image_file(const std::filesystem::path& file);

// Decoders of one format each. `bytes` must begin with the format's signature. They throw as decode_image does.

DecodedImage decode_jpeg(std::span<const std::uint8_t> bytes, ImageSize size, Scratch& scratch);
DecodedImage decode_png(std::span<const std::uint8_t> bytes, Scratch& scratch);
DecodedImage decode_webp(std::span<const std::uint8_t> bytes, Scratch& scratch);

// The names and versions of the decoding libraries: "libpng 1.6.39".

std::string jpeg_library();
std::string png_library();
std::string webp_library();

/// A lock that is held while an image that needs much memory is decoded, so that there is one such image at a time.
using DecodingLock = std::unique_lock<std::mutex>;

/// Checks that an image of width x height pixels may be decoded.
/// @param bytes peak memory use of decoding, without the bytes of the file itself.
/// @return a lock to hold until the image is decoded; an empty one if `bytes` is at most 128 MiB.
/// @throws Error when `bytes` exceeds 2 GiB or, above 128 MiB, the memory that is available.
[[nodiscard]] DecodingLock require_decoding_memory(std::int64_t width, std::int64_t height, std::int64_t bytes);

/// Returns the orientation (1 to 8) in an EXIF block (a TIFF file, with or without "Exif\0\0" in front); 1 if it is
/// missing or invalid.
int exif_orientation(std::span<const std::uint8_t> block);

/// Rotates and mirrors an image so that it is upright. The pixels are copied unless the image is upright already.
/// @param orientation the EXIF orientation (tag 0x0112), 1 to 8.
Image upright(Image image, int orientation, Scratch& scratch);

/// Whether the height of the upright image is the width of the stored one, and the other way round.
inline bool swaps_axes(int orientation) { return orientation >= 5 && orientation <= 8; }

}  // namespace facet::data
