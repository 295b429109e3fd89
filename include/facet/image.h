#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "facet/export.h"

namespace facet {

/// An image: 8-bit RGB pixels, row-major, {height, width, 3}.
struct Image {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> pixels = {};
};

/// The height and width of an image, in pixels.
struct ImageSize {
  /// The size of a square image. The conversion is implicit: a size may be given as one number.
  constexpr ImageSize(int side) : height(side), width(side) {}
  constexpr ImageSize(int height_pixels, int width_pixels) : height(height_pixels), width(width_pixels) {}
  constexpr bool operator==(const ImageSize&) const = default;

  int height, width;
};
/// The largest height and width that a model's input may have.
inline constexpr int max_image_side = 16384;
/// Returns height x width, such as "224x160"; "224x224" for a square.
FACET_EXPORT std::string to_string(ImageSize size);
/// Parses the side of a square, such as "224", or height x width, such as "224x160".
/// @param what what messages call the size: "--size".
/// @throws Error naming the text unless it consists of one or two whole numbers from 1 to max_image_side.
FACET_EXPORT ImageSize parse_image_size(std::string_view text, std::string_view what = "the image size");

/// How an image of any shape is resized to height x width. The filter is that of PIL's Image.resize with BILINEAR
/// (antialiased) and gives the same pixels.
enum class ResizeMode : std::uint8_t {
  squash,  ///< takes the whole image; its aspect ratio is lost
  /// Keeps the aspect ratio: the image is resized to the smallest extents that cover floor(height / 0.875) x
  /// floor(width / 0.875), where one of them is met and the other is in proportion (rounded down), and the centre of
  /// height x width is taken. For a size of 224x224 that is torchvision's Resize(256) and CenterCrop(224).
  crop,
  /// As crop, but height x width itself is covered. A model's own mode is one of the others.
  cover
};
/// Returns "squash", "crop" or "cover". @throws Error when `mode` has another value.
FACET_EXPORT std::string_view to_string(ResizeMode mode);
/// Parses "squash" or "crop". @throws Error naming the value and those allowed.
FACET_EXPORT ResizeMode parse_resize_mode(std::string_view text);

/// Reads an image file as upright RGB: EXIF's orientation is applied. The format is detected from the content, not from
/// the name. Pixels are those of Pillow's convert("RGB"), which drops alpha and colour profiles.
/// - JPEG may be baseline, extended or progressive, and grey, RGB, CMYK or YCCK. CMYK is taken as inverted, as Adobe's
///   programs write it and Pillow reads it.
/// - PNG may be of any kind. Samples of 16 bits are reduced to their high byte, in grey images too (Pillow's conversion
///   clips those at 255). An animation yields its default image. EXIF is read from the chunk eXIf, not from
///   ImageMagick's text chunks.
/// - WebP may be lossy or lossless. An animation yields its first frame.
/// @param size the height and width that the upright image needs (see covered_size): a JPEG that is much larger is
///   decoded at 1/2, 1/4 or 1/8 (scaled DCT), with no side below `size`; 0: decoded in full.
/// @param warning if not null, is set to the defects of the file that change no pixel, or to an empty string. Those of
///   a JPEG are: extraneous bytes before a marker, a missing end marker although the image data are complete, an
///   unknown Adobe transform or JFIF version, and odd spectral parameters of a sequential scan. Those of a PNG are: the
///   warnings of libpng, and damage after the pixels, including a missing end.
/// @throws Error naming the file when it is missing, not a regular file, empty or of an unsupported format (which the
///   message names); when its data are truncated or corrupt; when a JPEG is lossless, hierarchical or not of 8 bits per
///   sample; when it is longer than 1 GiB; or when decoding it would take more than 2 GiB of memory, or more than is
///   available.
FACET_EXPORT Image read_image(const std::filesystem::path& file, ImageSize size = 0, std::string* warning = nullptr);

/// Returns the extents that an image covers when it is resized: `size`, or floor(height / 0.875) x
/// floor(width / 0.875) before a crop.
/// @throws Error when a side is below 1, or so large that the extent doesn't fit into an int.
FACET_EXPORT ImageSize covered_size(ImageSize size, ResizeMode mode);

/// Resizes an image to {height, width, 3}. Only the pixels that are kept are computed, so that a crop of an image of
/// any aspect ratio takes little memory.
/// @throws Error when the byte count of the image or of `pixels` doesn't match its size, or a size is out of range.
FACET_EXPORT void resize(const Image& image, ImageSize size, ResizeMode mode, std::span<std::uint8_t> pixels);

}  // namespace facet
