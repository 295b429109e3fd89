#include "kernels/dropout.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "base/random.h"
#include "each_cpu_isa.h"
#include "facet/error.h"

using namespace facet;
using kernels::DropoutKey;
using kernels::DropoutRule;

namespace {

std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
std::uint32_t high(std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); }

/// The draw of one element, by the scalar generator.
bool kept(const DropoutKey& key, float rate, std::uint64_t index) {
  const auto mixed = base::philox({low(key.step), high(key.step), key.op, 4}, {low(key.seed), high(key.seed)});
  const auto words = base::philox({low(index / 4), high(index / 4), mixed[2], mixed[3]}, {mixed[0], mixed[1]});
  return words[index % 4] >= static_cast<double>(rate) * 4294967296.0;
}

/// Values that are exact in bf16, so that both types see the same; never 0.
std::vector<float> inputs(std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = (i % 2 == 0 ? 1.0F : -1.0F) * static_cast<float>(1 + i % 128);
  return values;
}

std::vector<std::uint16_t> as_bf16(const std::vector<float>& values) {
  std::vector<std::uint16_t> result(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) result[i] = nearest_bf16(values[i]);
  return result;
}

struct Outputs {
  std::vector<float> forward, backward;
  std::vector<std::uint16_t> forward_bf16, backward_bf16;
  bool operator==(const Outputs&) const = default;
};

/// Runs each kernel in place on `count` elements of buffers with one more element, which reveals writes beyond the end.
Outputs run(std::int64_t count, const DropoutRule& rule, const DropoutKey& key, std::uint64_t first) {
  const std::vector<float> values = inputs(static_cast<std::size_t>(count) + 1);
  Outputs outputs{values, values, as_bf16(values), as_bf16(values)};
  kernels::dropout_forward(outputs.forward.data(), outputs.forward.data(), count, rule, key, first);
  kernels::dropout_backward(outputs.backward.data(), outputs.backward.data(), count, rule, key, first);
  kernels::dropout_forward(outputs.forward_bf16.data(), outputs.forward_bf16.data(), count, rule, key, first);
  kernels::dropout_backward(outputs.backward_bf16.data(), outputs.backward_bf16.data(), count, rule, key, first);
  return outputs;
}

std::size_t count_wrong(const Outputs& outputs, const DropoutRule& rule, const DropoutKey& key, std::uint64_t first) {
  std::size_t wrong = 0;
  const std::size_t count = outputs.forward.size() - 1;
  const std::vector<float> x = inputs(count + 1);
  const auto close = [](float a, double b) { return std::fabs(a - b) <= 1e-6 * std::fabs(b) + 1e-6; };
  const auto close_bf16 = [](std::uint16_t a, double b) {
    return std::fabs(float_of_bf16(a) - b) <= 0x1p-8 * std::fabs(b) * 1.001;
  };
  for (std::size_t i = 0; i < count; ++i) {
    const bool keep = kept(key, rule.rate, first + i);
    const double forward = keep ? static_cast<double>(rule.scale) * x[i] + rule.kept_shift : rule.dropped;
    const double backward = keep ? static_cast<double>(rule.scale) * x[i] : 0.0;
    wrong += close(outputs.forward[i], forward) && close(outputs.backward[i], backward) ? 0 : 1;
    wrong += close_bf16(outputs.forward_bf16[i], forward) && close_bf16(outputs.backward_bf16[i], backward) ? 0 : 1;
  }
  const bool beyond = outputs.forward[count] != x[count] || outputs.backward[count] != x[count] ||
                      float_of_bf16(outputs.forward_bf16[count]) != x[count] ||
                      float_of_bf16(outputs.backward_bf16[count]) != x[count];
  return wrong + (beyond ? 1 : 0);
}

const DropoutKey some_key{.seed = 0x123456789ABCDEFULL, .step = 0xFEDCBA9876543210ULL, .op = 17};

}  // namespace

TEST_CASE("dropout draws what the scalar generator draws, for any first element and length") {
  for_each_cpu_isa([&] {
    for (const DropoutRule& rule : {kernels::dropout_rule(0.5F), kernels::alpha_dropout_rule(0.3F)}) {
      // The third range crosses the carry from the lower to the upper half of the block counter.
      for (const std::uint64_t first : {0ULL, 1ULL, (1ULL << 34) - 37, (1ULL << 63) + 3, 1022ULL}) {
        for (std::int64_t count = 0; count <= 100; ++count) {
          CAPTURE(first);
          CAPTURE(count);
          CHECK(count_wrong(run(count, rule, some_key, first), rule, some_key, first) == 0);
        }
        CHECK(count_wrong(run(20'011, rule, some_key, first), rule, some_key, first) == 0);
      }
    }
  });
}

TEST_CASE("dropout's mask doesn't depend on threads or on how a tensor is split") {
  const DropoutRule rule = kernels::dropout_rule(0.25F);
  for_each_cpu_isa([&] {
    const Outputs whole = run(50'001, rule, some_key, 5);
    for (const int threads : {1, 2, 3}) {
      const base::ComputeScope scope(threads);
      CHECK(run(50'001, rule, some_key, 5) == whole);
    }
    const std::vector<float> x = inputs(50'001);
    std::vector<float> y(x.size());
    std::int64_t done = 0;
    for (std::int64_t piece = 1; done < 50'001; piece = piece * 3 + 1) {
      const std::int64_t count = std::min<std::int64_t>(piece, 50'001 - done);
      kernels::dropout_forward(x.data() + done, y.data() + done, count, rule, some_key,
                               5 + static_cast<std::uint64_t>(done));
      done += count;
    }
    y.push_back(whole.forward.back());
    CHECK(y == whole.forward);
  });
}

TEST_CASE("dropout drops the requested share, differently for each seed, step and op") {
  constexpr std::size_t count = 1'000'000;
  const std::vector<float> ones(count, 1.0F);
  const auto mask = [&](float rate, const DropoutKey& key) {
    std::vector<float> y(count);
    kernels::dropout_forward(ones.data(), y.data(), count, kernels::dropout_rule(rate), key, 0);
    return y;
  };
  for (const float rate : {0.0F, 0.1F, 0.5F, 0.9F}) {
    CAPTURE(rate);
    double dropped = 0;
    for (const float value : mask(rate, some_key)) dropped += value == 0 ? 1 : 0;
    const double sigma = std::sqrt(static_cast<double>(count) * rate * (1 - rate));
    CHECK(std::fabs(dropped - static_cast<double>(count) * rate) <= 5 * sigma);
  }
  const std::vector<float> base_mask = mask(0.5F, some_key);
  std::vector<DropoutKey> others(5, some_key);
  others[0].seed += 1;
  others[1].step += 1;
  others[2].op += 1;
  others[3].seed += 1ULL << 32;
  others[4].step += 1ULL << 32;
  for (const DropoutKey& key : others) {
    const std::vector<float> other = mask(0.5F, key);
    double equal = 0;
    for (std::size_t i = 0; i < count; ++i) equal += base_mask[i] == other[i] ? 1 : 0;
    CHECK(std::fabs(equal - count / 2.0) < 5 * std::sqrt(count / 4.0));
  }
}

TEST_CASE("alpha dropout keeps zero mean and unit variance") {
  constexpr std::size_t count = 1'000'000;
  base::RandomStream random(11, base::Purpose::synthesis);
  std::vector<float> x(count);
  for (float& value : x) value = random.normal();
  for (const float rate : {0.1F, 0.5F}) {
    std::vector<float> y(count);
    kernels::dropout_forward(x.data(), y.data(), count, kernels::alpha_dropout_rule(rate), some_key, 0);
    double sum = 0;
    double squares = 0;
    for (const float value : y) {
      sum += value;
      squares += static_cast<double>(value) * value;
    }
    CHECK(std::fabs(sum / count) < 0.006);
    CHECK(std::fabs(squares / count - 1) < 0.01);
  }
}

TEST_CASE("a dropped NaN becomes 0, a kept one stays") {
  for_each_cpu_isa([&] {
    std::vector<float> x(1000, std::nanf(""));
    kernels::dropout_forward(x.data(), x.data(), 1000, kernels::dropout_rule(0.5F), some_key, 0);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < x.size(); ++i) wrong += std::isnan(x[i]) != kept(some_key, 0.5F, i) ? 1 : 0;
    CHECK(wrong == 0);
  });
}

TEST_CASE("the rules follow their papers, and invalid rates are refused") {
  CHECK(kernels::dropout_rule(0.75F).scale == 4.0F);
  CHECK(kernels::dropout_rule(0).scale == 1.0F);
  const DropoutRule alpha = kernels::alpha_dropout_rule(0.5F);
  // a, a * alpha' + b and b for q = 0.5, from PyTorch's formula.
  CHECK(alpha.scale == doctest::Approx(0.8864053));
  CHECK(alpha.kept_shift == doctest::Approx(0.7791939));
  CHECK(alpha.dropped == doctest::Approx(-0.7791939));
  CHECK(kernels::alpha_dropout_rule(0).scale == 1.0F);
  CHECK_THROWS_WITH_AS(kernels::dropout_rule(1), "dropout: rate 1 isn't in [0, 1)", Error);
  CHECK_THROWS_AS(kernels::alpha_dropout_rule(-0.1F), Error);
  CHECK_THROWS_AS(kernels::dropout_rule(std::nanf("")), Error);
}
