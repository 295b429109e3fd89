#include "data/mirror.h"

#include <cstring>

namespace facet::data {

void mirror(std::span<std::uint8_t> pixels, int size) {
  struct Pixel {
    std::uint8_t rgb[3];
  };
  const std::size_t row_bytes = static_cast<std::size_t>(size) * 3;
  for (std::size_t row = 0; row < pixels.size(); row += row_bytes) {
    std::uint8_t* left = &pixels[row];
    std::uint8_t* right = left + row_bytes - 3;
    for (; left < right; left += 3, right -= 3) {
      Pixel a, b;
      std::memcpy(&a, left, 3);
      std::memcpy(&b, right, 3);
      std::memcpy(left, &b, 3);
      std::memcpy(right, &a, 3);
    }
  }
}

}  // namespace facet::data
