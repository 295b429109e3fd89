#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace facet::tensorboard {

class Event;

/// An event as a record of TensorBoard's event files (TFRecord): the number of its bytes (8 bytes), its CRC, the bytes
/// and their CRC, all little-endian.
std::string record_of(const Event& event);

/// The CRC of bytes as records have it: their CRC-32C, rotated right by 15 bits, plus 0xa282ead8.
std::uint32_t masked_crc32c(std::string_view bytes);

}  // namespace facet::tensorboard
