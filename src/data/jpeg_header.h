#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace facet::data {

/// What every JPEG begins with: the marker of an image's start, and the first byte of the next marker.
inline constexpr std::array<std::uint8_t, 3> jpeg_start{0xFF, 0xD8, 0xFF};

/// What the markers before the first scan of a JPEG say.
struct JpegHeader {
  int width = 0;
  int height = 0;
  int components = 0;
  int orientation = 1;      ///< EXIF's, 1 (upright) to 8
  bool adobe = false;       ///< has Adobe's marker: CMYK is then stored inverted
  bool many_scans = false;  ///< progressive, or a scan a component: decoded with all coefficients in memory
};

/// Walks the markers up to the first scan. Of a sequential JPEG it also sets the scan's spectral parameters to the only
/// values that they can have: some cameras leave them 0, which harms nothing but would be a warning, and with us an
/// error.
/// @throws Error, without the file's name, when the bytes are no JPEG, one of a kind that isn't decoded (lossless,
///   hierarchical, other than 8 bits a sample) or end before the scan.
JpegHeader read_jpeg_header(std::span<std::uint8_t> bytes);

/// The orientation (1 to 8) that an EXIF block ("Exif", two zeros, a TIFF file) tells; 1 where it tells none, or
/// nonsense.
int exif_orientation(std::span<const std::uint8_t> block);

}  // namespace facet::data
