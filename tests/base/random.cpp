#include "base/random.h"

#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <vector>

using facet::base::hash;
using facet::base::philox;
using facet::base::Purpose;
using facet::base::RandomStream;
using Words = std::array<std::uint32_t, 4>;

// Random123's kat_vectors, "philox4x32 10".
TEST_CASE("Philox4x32-10 gives Random123's known answers") {
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({~0U, ~0U, ~0U, ~0U}, {~0U, ~0U}) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("hash is 64-bit FNV-1a") {
  CHECK(hash("") == 0xcbf29ce484222325);
  CHECK(hash("a") == 0xaf63dc4c8601ec8c);
  CHECK(hash("foobar") == 0x85944171f73967e8);
}

TEST_CASE("a stream is reproducible and depends on each of seed, purpose, a and b") {
  const auto draw = [](RandomStream stream) {
    std::vector<std::uint32_t> drawn(100);
    for (auto& word : drawn) {
      word = stream.bits();
    }
    return drawn;
  };
  const std::uint64_t high = std::uint64_t{1} << 32;
  const std::set<std::vector<std::uint32_t>> streams = {
      draw({0, Purpose::order}),       draw({1, Purpose::order}),         draw({high, Purpose::order}),
      draw({0, Purpose::dropout}),     draw({0, Purpose::order, 1}),      draw({0, Purpose::order, high}),
      draw({0, Purpose::order, 0, 1}), draw({0, Purpose::order, 0, high})};
  CHECK(streams.size() == 8);
  CHECK(draw({7, Purpose::augmentation, 3, 4}) == draw({7, Purpose::augmentation, 3, 4}));
}

TEST_CASE("uniform stays in its half-open range and has the expected mean and variance") {
  RandomStream stream(1, Purpose::initialization);
  double sum = 0;
  double squares = 0;
  constexpr int count = 100000;
  for (int i = 0; i < count; ++i) {
    const float value = stream.uniform();
    REQUIRE(value >= 0.0F);
    REQUIRE(value < 1.0F);
    sum += value;
    squares += value * value;
  }
  CHECK(sum / count == doctest::Approx(0.5).epsilon(0.01));
  CHECK(squares / count == doctest::Approx(1.0 / 3).epsilon(0.01));
  const float next = std::nextafter(1.0F, 2.0F);  // a range with two floats: low itself must be the only draw
  for (int i = 0; i < 100; ++i) {
    CHECK(stream.uniform(1.0F, next) == 1.0F);
  }
}

TEST_CASE("below is uniform and never reaches its bound") {
  RandomStream stream(2, Purpose::order);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70000; ++i) {
    const std::uint32_t value = stream.below(7);
    REQUIRE(value < 7);
    ++counts[value];
  }
  for (const int count : counts) {
    CHECK(std::abs(count - 10000) < 400);  // over 4 standard deviations
  }
  CHECK(stream.below(1) == 0);
  // Bits modulo 3 << 30 would be below 1 << 30 half the time.
  int low = 0;
  for (int i = 0; i < 30000; ++i) {
    low += stream.below(3U << 30) < (1U << 30) ? 1 : 0;
  }
  CHECK(std::abs(low - 10000) < 400);
}

TEST_CASE("normal has mean 0, variance 1 and normal tails") {
  RandomStream stream(3, Purpose::initialization);
  constexpr int count = 100000;
  double sum = 0;
  double squares = 0;
  int beyond = 0;
  for (int i = 0; i < count; ++i) {
    const float value = stream.normal();
    REQUIRE(std::isfinite(value));
    sum += value;
    squares += value * value;
    beyond += std::abs(value) > 2 ? 1 : 0;
  }
  CHECK(std::abs(sum / count) < 0.015);
  CHECK(squares / count == doctest::Approx(1.0).epsilon(0.02));
  CHECK(beyond / double{count} == doctest::Approx(0.0455).epsilon(0.06));
}
