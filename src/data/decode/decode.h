#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/decode/region.h"
#include "data/decode/scratch.h"
#include "facet/image.h"

namespace facet::data {

/// What is needed of an image.
struct DecodeRequest {
  ImageSize size = 0;  ///< the extents that the whole upright image needs, as in read_image
  /// The pixels that are needed, within the upright image in full size; none: all. A decoder may return more, of which
  /// those outside of the region may differ from what is decoded without a region.
  std::optional<Region> region = {};
};

/// Returns what is needed of an image, given the extents of the upright image in full size.
using DecodeChoice = std::function<DecodeRequest(ImageSize whole)>;

struct DecodedImage {
  Image image = {};
  Placement placement = {};  ///< where the pixels lie in the whole upright image, at the scale that was decoded
  std::string warning = {};  ///< a defect of the file that affects no pixel; empty: none
};

/// Decodes an image held in memory, as read_image does.
///
/// Of a JPEG, only the region is decoded. Defects are found in all of it nevertheless, and are the same as without a
/// region: its data are parsed to the end. Other images are decoded in full: most of the work on a PNG is to inflate
/// it, which can't leave out anything, and libwebp leaves out the rows below a region without checking their data.
/// @param scratch provides the pixels' buffer, to which the caller may return it.
/// @throws Error that says what is wrong, without a file's name; std::bad_alloc when memory runs out.
DecodedImage decode_image(std::span<const std::uint8_t> bytes, const DecodeChoice& choose, Scratch& scratch);
DecodedImage decode_image(std::span<const std::uint8_t> bytes, ImageSize size, Scratch& scratch);
DecodedImage decode_image(std::span<const std::uint8_t> bytes, ImageSize size);

/// Reads a file that decode_image decodes; of a file of another format, the first bytes, from which decode_image
/// recognises it.
/// @throws Error that says why the file can't be read, without its name.
std::vector<std::uint8_t> read_image_file(const std::filesystem::path& file);

// Decoders of one format each. `bytes` must begin with the format's signature. They throw as decode_image does.

DecodedImage decode_jpeg(std::span<const std::uint8_t> bytes, const DecodeChoice& choose, Scratch& scratch);
DecodedImage decode_png(std::span<const std::uint8_t> bytes, Scratch& scratch);
DecodedImage decode_webp(std::span<const std::uint8_t> bytes, Scratch& scratch);

/// Returns 1, 2, 4 or 8, by which decode_jpeg divides the extents of an image (rounded up): the largest divisor that
/// leaves no side below `size` (the rule of PIL's Image.draft).
int jpeg_reduction(ImageSize whole, ImageSize size);

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

}  // namespace facet::data
