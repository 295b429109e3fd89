#pragma once

#include <cstdint>
#include <span>

namespace facet::data {

/// What the markers before the first scan of a JPEG say.
struct JpegHeader {
  int width = 0;
  int height = 0;
  int components = 0;
  int orientation = 1;  ///< EXIF's, 1 (upright) to 8
  bool adobe = false;   ///< has Adobe's marker: CMYK is then stored inverted
};

/// Walks the markers up to the first scan. Of a sequential JPEG it also sets the scan's spectral parameters to the only
/// values that they can have: some cameras leave them 0, which harms nothing but would be a warning, and with us an
/// error.
/// @throws Error, without the file's name, when the bytes are no JPEG or end before the scan.
JpegHeader read_jpeg_header(std::span<std::uint8_t> bytes);

/// The orientation (1 to 8) that an EXIF block ("Exif", two zeros, a TIFF file) tells; 1 where it tells none, or
/// nonsense.
int exif_orientation(std::span<const std::uint8_t> block);

}  // namespace facet::data
