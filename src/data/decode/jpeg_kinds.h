#pragma once

namespace facet::data {

/// Bits per sample, the value of one channel, of the JPEGs that are decoded.
inline constexpr int sample_bits = 8;

/// @throws Error when the marker is that of an unsupported kind of JPEG.
void require_supported(int marker);
/// @throws Error that says that a JPEG has `bits` per sample.
[[noreturn]] void refuse_precision(int bits);

}  // namespace facet::data
