#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "facet/source.h"

/// What decoding alone takes: libjpeg-turbo's plain calls, which a loader is held against.
namespace facet::bench {

/// Decodes a JPEG in memory in full, to RGB (CMYK to CMYK), with libjpeg-turbo's default settings.
/// @param pixels are overwritten. @throws Error with libjpeg's message.
void decode_plainly(std::span<const std::uint8_t> jpeg, std::vector<std::uint8_t>& pixels);

/// Decodes images of a data set with decode_plainly on `threads` threads.
/// @return the seconds of all threads together, without those for reading the files; none if an image isn't a JPEG.
/// @throws Error naming the image that can't be read or decoded.
std::optional<double> time_bare_decode(const SourceDataset& dataset, std::span<const std::int64_t> images, int threads);

}  // namespace facet::bench
