#include "base/crc32c.h"

#include <doctest/doctest.h>

#include <numeric>
#include <string_view>
#include <vector>

using facet::base::crc32c;
using facet::base::crc32c_portable;

namespace {

std::vector<std::byte> filled(std::size_t size, int first, int step) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(first + step * static_cast<int>(i));
  return bytes;
}

}  // namespace

TEST_CASE("the CRCs that RFC 3720 gives, by the CPU's instruction and without it") {
  struct Case {
    std::vector<std::byte> bytes;
    std::uint32_t crc;
  };
  const std::string_view digits = "123456789";
  const auto characters = std::as_bytes(std::span(digits));
  for (const Case& known :
       {Case{filled(32, 0, 0), 0x8A9136AA}, Case{filled(32, 0xFF, 0), 0x62A8AB43}, Case{filled(32, 0, 1), 0x46DD794E},
        Case{filled(32, 31, -1), 0x113FDB5C}, Case{{characters.begin(), characters.end()}, 0xE3069283}, Case{{}, 0}}) {
    CHECK(crc32c(known.bytes) == known.crc);
    CHECK(crc32c_portable(known.bytes) == known.crc);
  }
}

TEST_CASE("bytes in pieces of any length, from any address, have the CRC of the whole") {
  const std::vector<std::byte> bytes = filled(100, 3, 7);
  const std::span<const std::byte> all(bytes);
  for (std::size_t begin = 0; begin < 9; ++begin) {
    const auto whole = all.subspan(begin);
    const std::uint32_t expected = crc32c_portable(whole);
    CHECK(crc32c(whole) == expected);
    for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
      CHECK(crc32c(whole.subspan(cut), crc32c(whole.first(cut))) == expected);
      CHECK(crc32c_portable(whole.subspan(cut), crc32c_portable(whole.first(cut))) == expected);
    }
  }
}
