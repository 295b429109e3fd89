#include "base/random.h"

#include <cmath>
#include <numbers>

namespace facet::base {
namespace {

using Words4 = std::array<std::uint32_t, 4>;
using Words2 = std::array<std::uint32_t, 2>;

Words2 words(std::uint64_t value) {
  return {static_cast<std::uint32_t>(value), static_cast<std::uint32_t>(value >> 32)};
}

}  // namespace

Words4 philox(Words4 counter, Words2 key) {
  constexpr std::uint64_t multiplier0 = 0xD2511F53;
  constexpr std::uint64_t multiplier1 = 0xCD9E8D57;
  constexpr std::uint32_t golden_ratio = 0x9E3779B9;
  constexpr std::uint32_t root_of_3_less_1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const Words2 product0 = words(multiplier0 * counter[0]);
    const Words2 product1 = words(multiplier1 * counter[2]);
    counter = {product1[1] ^ counter[1] ^ key[0], product1[0], product0[1] ^ counter[3] ^ key[1], product0[0]};
    key = {key[0] + golden_ratio, key[1] + root_of_3_less_1};
  }
  return counter;
}

std::uint64_t hash(std::string_view text) {
  std::uint64_t value = 0xcbf29ce484222325;
  for (const char character : text) {
    value = (value ^ static_cast<unsigned char>(character)) * 0x100000001b3;
  }
  return value;
}

// Seed, purpose, a and b have more bits than a key and a counter hold. So the stream's key is itself drawn from
// (purpose, a) under the seed, and b is a part of the counter, beside the block's number.
RandomStream::RandomStream(std::uint64_t seed, Purpose purpose, std::uint64_t a, std::uint64_t b) {
  const Words2 first = words(a);
  const Words2 second = words(b);
  const Words4 drawn = philox({static_cast<std::uint32_t>(purpose), first[0], first[1], 0}, words(seed));
  key_ = {drawn[0], drawn[1]};
  counter_ = {0, 0, second[0], second[1]};
}

std::uint32_t RandomStream::bits() {
  if (used_ == 4) {
    block_ = philox(counter_, key_);
    used_ = 0;
    if (++counter_[0] == 0) {
      ++counter_[1];
    }
  }
  return block_[static_cast<std::size_t>(used_++)];
}

float RandomStream::uniform() { return static_cast<float>(bits() >> 8) * 0x1p-24F; }

float RandomStream::uniform(float low, float high) {
  const float value = low + (high - low) * uniform();
  return value < high ? value : std::nextafter(high, low);  // the sum may round up to high
}

// Lemire 2019, "Fast Random Integer Generation in an Interval".
std::uint32_t RandomStream::below(std::uint32_t count) {
  const std::uint32_t rejected = (0U - count) % count;
  std::uint64_t product = 0;
  do {
    product = std::uint64_t{bits()} * count;
  } while (static_cast<std::uint32_t>(product) < rejected);
  return static_cast<std::uint32_t>(product >> 32);
}

// Box and Muller 1958; 1 - u is in (0, 1], so that the logarithm is finite.
float RandomStream::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - static_cast<double>(uniform())));
  return static_cast<float>(radius * std::cos(2.0 * std::numbers::pi * static_cast<double>(uniform())));
}

}  // namespace facet::base
