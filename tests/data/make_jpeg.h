#pragma once

#include <turbojpeg.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "facet/image.h"
#include "testing.h"

namespace facet {

using Bytes = std::vector<std::uint8_t>;

/// Returns an image of smooth waves, with different corners and channels.
inline Image waves(int width, int height, double phase = 0) {
  Image image{.width = width, .height = height, .pixels = {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < 3; ++c) {
        const double across = static_cast<double>(x) / width;
        const double down = static_cast<double>(y) / height;
        const double wave = std::sin(5 * across + c + phase) + std::cos(7 * down * (c + 1) - across + phase);
        image.pixels.push_back(static_cast<std::uint8_t>(127.5 + 60 * wave));
      }
    }
  }
  return image;
}

/// Returns an image of random pixels, the hardest case for a filter.
inline Image noise(int width, int height, std::uint32_t state = 1) {
  Image image{.width = width, .height = height, .pixels = {}};
  for (int i = 0; i < width * height * 3; ++i) {
    state = state * 1664525U + 1013904223U;
    image.pixels.push_back(static_cast<std::uint8_t>(state >> 24));
  }
  return image;
}

struct JpegOptions {
  int format = TJPF_RGB;
  int subsampling = TJSAMP_420;
  int flags = 0;
  int quality = 95;
};

/// @param pixels in options.format, without padding.
inline Bytes compress(const Bytes& pixels, int width, int height, const JpegOptions& options = {}) {
  const tjhandle handle = tjInitCompress();
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  const int status = tjCompress2(handle, pixels.data(), width, 0, height, options.format, &buffer, &size,
                                 options.subsampling, options.quality, options.flags);
  Bytes jpeg(buffer, buffer + size);
  tjFree(buffer);
  tjDestroy(handle);
  if (status != 0) throw std::runtime_error("tjCompress2 failed");
  return jpeg;
}

inline Bytes compress(const Image& image, const JpegOptions& options = {}) {
  return compress(image.pixels, image.width, image.height, options);
}

inline void save(const std::filesystem::path& file, const Bytes& bytes) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

/// Returns the JPEG with an EXIF block of that orientation after its first marker.
inline Bytes with_orientation(const Bytes& jpeg, int orientation, bool little_endian = true) {
  const auto low = static_cast<std::uint8_t>(orientation);
  Bytes tiff;
  if (little_endian) {
    tiff = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, low, 0, 0, 0, 0, 0, 0, 0};
  } else {
    tiff = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, low, 0, 0, 0, 0, 0, 0};
  }
  Bytes block{0xFF, 0xE1, 0, static_cast<std::uint8_t>(tiff.size() + 8), 'E', 'x', 'i', 'f', 0, 0};
  block.insert(block.end(), tiff.begin(), tiff.end());
  Bytes result = jpeg;
  result.insert(result.begin() + 2, block.begin(), block.end());
  return result;
}

/// Returns the offset of `pattern` in the bytes.
inline std::size_t find(const Bytes& bytes, const Bytes& pattern) {
  const auto found = std::search(bytes.begin(), bytes.end(), pattern.begin(), pattern.end());
  if (found == bytes.end()) throw std::runtime_error("no such bytes in the JPEG");
  return static_cast<std::size_t>(found - bytes.begin());
}

/// Returns the mean absolute difference in grey levels.
inline double mean_difference(const Bytes& a, const Bytes& b) {
  if (a.size() != b.size()) throw std::runtime_error("images of different sizes");
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::abs(int{a[i]} - int{b[i]});
  return sum / static_cast<double>(a.size());
}

}  // namespace facet
