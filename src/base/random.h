#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace facet::base {

/// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): returns four random words that
/// depend only on the counter and the key.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// What random numbers are drawn for. Each purpose has its own streams, so that an additional draw for one purpose
/// doesn't change the numbers of another.
enum class Purpose : std::uint32_t {
  initialization = 1,
  order = 2,
  augmentation = 3,
  dropout = 4,
  synthesis = 5,
  repetition = 6
};

/// 64-bit FNV-1a hash: a stable number for a name.
std::uint64_t hash(std::string_view text);

/// A stream of random numbers that depends only on (seed, purpose, a, b).
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, Purpose purpose, std::uint64_t a = 0, std::uint64_t b = 0);

  std::uint32_t bits();
  /// Uniform in [0, 1), with 24 random bits.
  float uniform();
  /// Uniform in [low, high).
  float uniform(float low, float high);
  /// Uniform in [0, count), without bias. count is at least 1.
  std::uint32_t below(std::uint32_t count);
  /// Standard normal.
  float normal();

 private:
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 4> counter_;
  std::array<std::uint32_t, 4> block_{};
  int used_ = 4;
};

}  // namespace facet::base
