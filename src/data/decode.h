#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <span>
#include <string>

#include "facet/data.h"

namespace facet::data {

struct DecodedImage {
  Image image = {};
  std::string warning = {};  ///< what is wrong with the file but harms no pixel; empty: nothing
};

/// Decodes an image held in memory, as read_image does.
/// @throws Error that says what is wrong, without a file's name; std::bad_alloc when memory runs out.
DecodedImage decode_image(std::span<const std::uint8_t> bytes, int size);

/// Reads and decodes a file. @throws Error that says what is wrong, without the file's name; std::bad_alloc likewise.
DecodedImage decode_image_file(const std::filesystem::path& file, int size);

// The decoders of one format each, of bytes that begin as the format does. They throw as decode_image does.

DecodedImage decode_jpeg(std::span<const std::uint8_t> bytes, int size);
DecodedImage decode_png(std::span<const std::uint8_t> bytes);
DecodedImage decode_webp(std::span<const std::uint8_t> bytes);

// The libraries that decode them, with their versions: "libpng 1.6.39".

std::string jpeg_library();
std::string png_library();
std::string webp_library();

/// The right to decode an image that takes much memory: one thread has it at a time, the others wait.
using DecodingTurn = std::unique_lock<std::mutex>;

/// @param bytes of memory that decoding takes at its peak, beside the file's own.
/// @return what to hold until the image is decoded; of an image that takes little, nothing.
/// @throws Error when they are more than 2 GiB, or than the machine has.
[[nodiscard]] DecodingTurn require_decoding_memory(std::int64_t width, std::int64_t height, std::int64_t bytes);

/// The orientation (1 to 8) that an EXIF block (a TIFF file, with or without "Exif\0\0" in front) tells; 1 where it
/// tells none, or nonsense.
int exif_orientation(std::span<const std::uint8_t> block);

/// Turns and mirrors an image so that it stands upright, which takes a copy unless it does.
/// @param orientation EXIF's (tag 0x0112), 1 to 8.
Image upright(Image image, int orientation);

}  // namespace facet::data
