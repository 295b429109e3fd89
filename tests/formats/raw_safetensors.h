#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

/// Writes a safetensors file, valid or not, from its parts: the header's length, `header` and `data`.
inline void write_raw(const std::filesystem::path& file, std::uint64_t header_length, const std::string& header,
                      const std::string& data) {
  std::string length(sizeof(header_length), '\0');
  std::memcpy(length.data(), &header_length, sizeof(header_length));
  std::ofstream(file, std::ios::binary) << length << header << data;
}

inline void write_raw(const std::filesystem::path& file, const std::string& header, const std::string& data) {
  write_raw(file, header.size(), header, data);
}
