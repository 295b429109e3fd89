#pragma once

#include <cstdint>
#include <span>

#include "facet/data.h"

namespace facet::data {

/// Decodes a JPEG held in memory, as read_jpeg does.
/// @param bytes may be mended in their header, see read_jpeg_header.
/// @throws Error that says what is wrong, without a file's name; std::bad_alloc when memory runs out.
Image decode_jpeg(std::span<std::uint8_t> bytes, int size);

/// Reads and decodes a file. @throws Error that says what is wrong, without the file's name; std::bad_alloc likewise.
Image decode_jpeg_file(const std::filesystem::path& file, int size);

/// Turns and mirrors an image so that it stands upright.
/// @param orientation EXIF's (tag 0x0112), 1 to 8.
Image upright(Image image, int orientation);

}  // namespace facet::data
