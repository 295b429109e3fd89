#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "base/random.h"
#include "each_cpu_isa.h"
#include "kernels/pixels.h"

using namespace facet;

namespace {

/// Random bit patterns, which include all exponents, denormals, infinities and NaNs.
std::vector<float> random_floats(std::int64_t count) {
  base::RandomStream random(7, base::Purpose::synthesis);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = float_of(random.bits());
  return values;
}

}  // namespace

TEST_CASE("to_bf16 rounds to the nearest, ties to even, and keeps NaN") {
  std::vector<float> values = random_floats(200'000);
  for (const std::uint32_t bits :
       {0U,          0x80000000U, 0x3F808000U, 0x3F818000U, 0x3F808001U, 0x3F807FFFU, 0x7F7FFFFFU,
        0xFF7FFFFFU, 0x7F7F8000U, 0x7F7F7FFFU, 0x7F800000U, 0xFF800000U, 0x7F800001U, 0xFF800001U,
        0x7FFFFFFFU, 0xFFFFFFFFU, 1U,          0x8000U,     0x18000U,    0x007FFFFFU}) {
    values.push_back(float_of(bits));
  }
  for_each_cpu_isa([&] {
    std::vector<std::uint16_t> rounded(values.size());
    kernels::to_bf16(values.data(), rounded.data(), static_cast<std::int64_t>(values.size()));
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < values.size(); ++i) wrong += rounded[i] != nearest_bf16(values[i]) ? 1 : 0;
    CHECK(wrong == 0);
  });
}

TEST_CASE("from_bf16 is exact for every value") {
  std::vector<std::uint16_t> all(65536);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
  for_each_cpu_isa([&] {
    std::vector<float> values(all.size());
    kernels::from_bf16(all.data(), values.data(), 65536);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < all.size(); ++i) wrong += bits_of(values[i]) != static_cast<std::uint32_t>(i) << 16;
    CHECK(wrong == 0);
  });
}

TEST_CASE("conversions of any length write that length and no more") {
  for_each_cpu_isa([&] {
    for (const std::int64_t count : [] {
           std::vector<std::int64_t> counts{16384, 16385, 1'000'003};
           for (std::int64_t i = 0; i <= 100; ++i) counts.push_back(i);
           return counts;
         }()) {
      CAPTURE(count);
      const auto size = static_cast<std::size_t>(count);
      const std::vector<float> values = random_floats(count);
      std::vector<std::uint16_t> rounded(size + 1, 0x1234);
      kernels::to_bf16(values.data(), rounded.data(), count);
      std::vector<float> back(size + 1, 5.0F);
      kernels::from_bf16(rounded.data(), back.data(), count);
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < size; ++i) {
        wrong += rounded[i] != nearest_bf16(values[i]) ? 1 : 0;
        wrong += bits_of(back[i]) >> 16 != rounded[i] ? 1 : 0;
      }
      CHECK(wrong == 0);
      CHECK(rounded[size] == 0x1234);
      CHECK(back[size] == 5.0F);
    }
  });
}
