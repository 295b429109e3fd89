#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "interchange/safetensors.h"

namespace facet::interchange {

/// The longest header that is read or written, in bytes: the limit of the format's own library.
inline constexpr std::uint64_t max_header_bytes = 100'000'000;

/// The key under which a header keeps its strings; no tensor can have that name.
inline constexpr std::string_view metadata_key = "__metadata__";

/// The key under which the metadata keep the CRCs.
inline constexpr std::string_view crc32c_key = "crc32c";

/// As they are kept: 8 hexadecimal digits.
std::string crc32c_digits(std::uint32_t crc);

/// Of all keys and values but the CRCs themselves.
std::uint32_t crc32c_of(const Metadata& metadata);

/// `text` in quotes, on one line and not too long for a message, whatever a file may have put there.
std::string in_quotes(std::string_view text);

struct SafetensorsHeader {
  Metadata metadata;
  std::vector<TensorEntry> tensors;  ///< in the order in which they lie in the file
};

/// Of a header's text, held against the bytes that follow it.
/// @param file what messages call the file.
/// @throws Error naming the file, the tensor and what is wrong: JSON, keys that repeat, types, shapes, offsets that
///   leave the file, overlap or leave holes, CRCs that are not one a tensor, or metadata that don't have theirs.
SafetensorsHeader parse_header(const std::string& file, std::string_view text, std::uint64_t data_bytes);

}  // namespace facet::interchange
