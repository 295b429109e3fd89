#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/safetensors.h"

namespace facet::formats {

/// The longest header that is read or written, in bytes: the limit of the format's own library.
inline constexpr std::uint64_t max_header_bytes = 100'000'000;

/// The key under which a header keeps its strings; no tensor can have that name.
inline constexpr std::string_view metadata_key = "__metadata__";

/// The key under which the metadata keep the CRCs.
inline constexpr std::string_view crc32c_key = "crc32c";

/// Returns a CRC as the metadata keep it: 8 hexadecimal digits.
std::string crc32c_digits(std::uint32_t crc);

/// Returns the CRC-32C of all keys and values except the CRCs themselves.
std::uint32_t crc32c_of(const Metadata& metadata);

/// Returns `text`, which may be a file's, in quotes for a message: on one line and shortened if it is long.
std::string in_quotes(std::string_view text);

struct SafetensorsHeader {
  Metadata metadata;
  std::vector<TensorEntry> tensors;  ///< in the order in which they lie in the file
};

/// Parses a header's text and checks it against the number of bytes that follow it.
/// @param file what messages call the file.
/// @throws Error naming the file, the tensor and what is wrong: invalid JSON, repeated keys, invalid types or shapes,
///   offsets that exceed the file, overlap or leave holes, CRCs that aren't one per tensor and one of the metadata, or
///   metadata that don't match theirs.
SafetensorsHeader parse_header(const std::string& file, std::string_view text, std::uint64_t data_bytes);

}  // namespace facet::formats
