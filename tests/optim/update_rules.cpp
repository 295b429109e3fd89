#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "base/random.h"
#include "each_cpu_isa.h"
#include "optim/gradients.h"
#include "optim/optimizer.h"

namespace facet::optim {
namespace {

constexpr float rate = 0.01F;

/// A parameter and the state of its update rule: `count` elements and one more, which must stay unchanged.
struct State {
  std::vector<float> weight, gradient;
  std::vector<std::vector<float>> slots;
  std::vector<std::uint16_t> weight_bf16;

  std::int64_t count() const { return static_cast<std::int64_t>(weight.size()) - 1; }

  UpdateOperands operands(const Optimizer& rule, bool with_bf16 = true) {
    UpdateOperands operands{.weight = weight.data(),
                            .gradient = gradient.data(),
                            .weight_bf16 = with_bf16 ? weight_bf16.data() : nullptr,
                            .count = count(),
                            .shape = {count(), 1},
                            .group = rule.group_of({.name = "weight", .shape = {count(), 1}})};
    for (std::vector<float>& slot : slots) operands.slots.push_back(slot.data());
    return operands;
  }

  bool step(const Optimizer& rule, std::int64_t number, bool with_bf16 = true) {
    return rule.step(operands(rule, with_bf16), {.learning_rate = rate, .step = number});
  }
};

State random_state(std::int64_t count, std::size_t slots) {
  const auto size = static_cast<std::size_t>(count) + 1;
  State state{.weight = std::vector<float>(size),
              .gradient = std::vector<float>(size),
              .slots = std::vector<std::vector<float>>(slots, std::vector<float>(size)),
              .weight_bf16 = std::vector<std::uint16_t>(size, 0x1234)};
  base::RandomStream random(3, base::Purpose::synthesis);
  for (std::size_t i = 0; i < size; ++i) {
    state.weight[i] = random.normal();
    state.gradient[i] = random.normal() * std::exp2(random.uniform(-20.0F, 3.0F));
    if (slots > 0) state.slots[0][i] = state.gradient[i] * random.uniform(-1.0F, 1.0F);
    if (slots > 1) state.slots[1][i] = state.gradient[i] * state.gradient[i] * random.uniform(0.5F, 2.0F);
  }
  return state;
}

/// A value in double, and the sum of the magnitudes of the terms that it is the sum of.
struct Exact {
  double value = 0, scale = 0;
};

/// The new weights and slots by a rule's formulas in double.
struct ExactState {
  std::vector<Exact> weight;
  std::vector<std::vector<Exact>> slots;
};

double norm(const std::vector<double>& values) {
  return std::sqrt(std::inner_product(values.begin(), values.end(), values.begin(), 0.0));
}

std::vector<double> first(const std::vector<float>& values, std::int64_t count) {
  return {values.begin(), values.begin() + count};
}

/// @param decoupled AdamW and LAMB. @param layerwise LAMB.
ExactState exact_adam(const State& s, const AdamOptions& o, std::int64_t step, bool decoupled, bool layerwise) {
  ExactState after{.weight = {}, .slots = {{}, {}}};
  const double correction1 = 1 - std::pow(o.beta1, step), correction2 = 1 - std::pow(o.beta2, step);
  std::vector<double> direction;
  for (std::int64_t i = 0; i < s.count(); ++i) {
    const double w = s.weight[i], g = s.gradient[i] + (decoupled ? 0 : o.groups.weight_decay * w);
    const double m = o.beta1 * s.slots[0][i] + (1 - o.beta1) * g;
    const double v = o.beta2 * s.slots[1][i] + (1 - o.beta2) * g * g;
    after.slots[0].push_back({m, std::abs(s.slots[0][i]) + std::abs(g)});
    after.slots[1].push_back({v, v});
    direction.push_back(m / correction1 / (std::sqrt(v / correction2) + o.eps) +
                        (decoupled ? o.groups.weight_decay * w : 0));
  }
  const double ratio = layerwise && s.count() > 0 ? norm(first(s.weight, s.count())) / norm(direction) : 1;
  for (std::int64_t i = 0; i < s.count(); ++i) {
    const double change = rate * ratio * direction[static_cast<std::size_t>(i)];
    after.weight.push_back({s.weight[i] - change, std::abs(s.weight[i]) + 10 * rate + 10 * std::abs(change)});
  }
  return after;
}

ExactState exact_sgd(const State& s, const SgdOptions& o) {
  ExactState after{.weight = {}, .slots = std::vector<std::vector<Exact>>(o.momentum == 0 ? 0 : 1)};
  for (std::int64_t i = 0; i < s.count(); ++i) {
    const double g = s.gradient[i] + o.groups.weight_decay * s.weight[i];
    const double buffer = o.momentum == 0 ? 0 : o.momentum * s.slots[0][i] + g;
    const double direction = o.momentum == 0 ? g : o.nesterov ? g + o.momentum * buffer : buffer;
    const double scale = 1 + std::abs(s.gradient[i]) + std::abs(s.weight[i]);
    if (o.momentum != 0) after.slots[0].push_back({buffer, scale});
    after.weight.push_back({s.weight[i] - rate * direction, scale});
  }
  return after;
}

ExactState exact_lars(const State& s, const LarsOptions& o) {
  ExactState after{.weight = {}, .slots = {{}}};
  const double weights = norm(first(s.weight, s.count())), gradients = norm(first(s.gradient, s.count()));
  const double ratio =
      s.count() == 0 ? 1 : o.trust_coefficient * weights / (gradients + o.groups.weight_decay * weights);
  for (std::int64_t i = 0; i < s.count(); ++i) {
    const double change = rate * ratio * (s.gradient[i] + o.groups.weight_decay * s.weight[i]);
    const double buffer = o.momentum * s.slots[0][i] + change;
    after.slots[0].push_back({buffer, std::abs(s.slots[0][i]) + std::abs(change)});
    after.weight.push_back({s.weight[i] - buffer, std::abs(s.weight[i]) + std::abs(buffer)});
  }
  return after;
}

struct Rule {
  std::string name;
  std::unique_ptr<Optimizer> rule;
  std::function<ExactState(const State&, std::int64_t step)> exact;
};

std::vector<Rule> rules() {
  std::vector<Rule> all;
  for (const AdamOptions& o : {AdamOptions{}, AdamOptions{0.8, 0.9999, 1e-3, {.weight_decay = 0.1}}}) {
    all.push_back({"adam", adam(o), [o](const State& s, std::int64_t t) { return exact_adam(s, o, t, false, false); }});
    all.push_back(
        {"adamw", adamw(o), [o](const State& s, std::int64_t t) { return exact_adam(s, o, t, true, false); }});
    all.push_back({"lamb", lamb(o), [o](const State& s, std::int64_t t) { return exact_adam(s, o, t, true, true); }});
  }
  for (const SgdOptions& o :
       {SgdOptions{}, SgdOptions{.momentum = 0.9}, SgdOptions{0.9, true, {.weight_decay = 0.05}}}) {
    all.push_back({"sgd", sgd(o), [o](const State& s, std::int64_t) { return exact_sgd(s, o); }});
  }
  for (const LarsOptions& o : {LarsOptions{}, LarsOptions{0.5, 0.1, {.weight_decay = 0.05}}}) {
    all.push_back({"lars", lars(o), [o](const State& s, std::int64_t) { return exact_lars(s, o); }});
  }
  return all;
}

double largest_error(const std::vector<float>& found, const std::vector<Exact>& exact) {
  double error = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    error = std::max(error, std::abs(found[i] - exact[i].value) / exact[i].scale);
  }
  return error;
}

}  // namespace

TEST_CASE("the tensors of the update rules' state have PyTorch's names") {
  const std::vector<std::string> moments{"exp_avg", "exp_avg_sq"}, buffer{"momentum_buffer"};
  CHECK(adam()->slot_names() == moments);
  CHECK(adamw()->slot_names() == moments);
  CHECK(lamb()->slot_names() == moments);
  CHECK(sgd()->slot_names().empty());
  CHECK(sgd({.momentum = 0.9})->slot_names() == buffer);
  CHECK(lars()->slot_names() == buffer);
}

TEST_CASE("each update rule agrees with its formulas in double, for any length and step") {
  const std::vector<Rule> all = rules();
  for_each_cpu_isa([&] {
    for (const Rule& rule : all) {
      CAPTURE(rule.name);
      const std::size_t slots = rule.rule->slot_names().size();
      for (const std::int64_t count : {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 100, 4097, 100'003}) {
        CAPTURE(count);
        for (const std::int64_t number : {1, 2, 1000, 1'000'000'000}) {
          const State before = random_state(count, slots);
          State after = before;
          CHECK(after.step(*rule.rule, number));
          const ExactState exact = rule.exact(before, number);
          CHECK(largest_error(after.weight, exact.weight) < 1e-6);
          const auto last = static_cast<std::size_t>(count);
          CHECK(after.weight[last] == before.weight[last]);
          for (std::size_t slot = 0; slot < slots; ++slot) {
            CHECK(largest_error(after.slots[slot], exact.slots[slot]) < 2e-6);
            CHECK(after.slots[slot][last] == before.slots[slot][last]);
          }
          CHECK(after.weight_bf16[last] == 0x1234);
          std::size_t wrong = 0;
          for (std::size_t i = 0; i < last; ++i) wrong += after.weight_bf16[i] != nearest_bf16(after.weight[i]) ? 1 : 0;
          CHECK(wrong == 0);
        }
      }
    }
  });
}

TEST_CASE("adam's first step from zero moments is the learning rate against the gradient's sign") {
  State state{.weight = {1.0F, 1.0F, 1.0F, 0},
              .gradient = {1e-3F, -1e3F, 0.0F, 0},
              .slots = {{0, 0, 0, 0}, {0, 0, 0, 0}},
              .weight_bf16 = {0, 0, 0, 0}};
  state.step(*adam(), 1);
  CHECK(state.weight[0] == doctest::Approx(1 - rate / (1 + 1e-5)).epsilon(1e-7));
  CHECK(state.weight[1] == doctest::Approx(1 + rate).epsilon(1e-7));
  CHECK(state.weight[2] == 1.0F);
}

TEST_CASE("update rules give the same bits with and without a bf16 copy, and for any number of threads") {
  const std::vector<Rule> all = rules();
  for_each_cpu_isa([&] {
    for (const Rule& rule : all) {
      CAPTURE(rule.name);
      const State before = random_state(100'003, rule.rule->slot_names().size());
      State alone = before;
      {
        const base::ComputeScope one_thread(1);
        alone.step(*rule.rule, 1, false);
      }
      CHECK(alone.weight_bf16 == before.weight_bf16);
      for (const int threads : {1, 2, 3}) {
        const base::ComputeScope scope(threads);
        State after = before;
        after.step(*rule.rule, 1);
        CHECK(after.weight == alone.weight);
        CHECK(after.slots == alone.slots);
      }
    }
  });
}

TEST_CASE("update rules report non-finite values at any position") {
  constexpr std::int64_t count = 100'003;
  const float nan = std::nanf(""), infinity = std::numeric_limits<float>::infinity();
  const std::vector<Rule> all = rules();
  for_each_cpu_isa([&] {
    for (const Rule& rule : all) {
      CAPTURE(rule.name);
      const State finite_state = random_state(count, rule.rule->slot_names().size());
      CHECK(State(finite_state).step(*rule.rule, 2));
      for (const std::size_t at : {0, 7, 8192, 100'001, 100'002, 100'003}) {
        for (const float value : {nan, infinity, -infinity}) {
          CAPTURE(at);
          CAPTURE(value);
          const bool is_outside = at == count;  // the element after the last
          State state = finite_state;
          state.weight[at] = value;
          CHECK(state.step(*rule.rule, 2) == is_outside);
          state = finite_state;
          state.gradient[at] = value;
          CHECK(state.step(*rule.rule, 2) == is_outside);
        }
      }
    }
    State large = random_state(count, 2);
    large.gradient[5] = 1e30F;  // its square overflows: the weight stays finite, but is never updated again
    CHECK(!State(large).step(*adam(), 2));
    CHECK(!State(large).step(*lamb(), 2));
    CHECK(!State(large).step(*lars(), 2));  // the norm of the gradient overflows, so that the step would be 0
    CHECK(State(large).step(*sgd({.momentum = 0.9}), 2));
  });
}

TEST_CASE("update rules average the weights that they write") {
  for (const Rule& rule : rules()) {
    CAPTURE(rule.name);
    State state = random_state(1003, rule.rule->slot_names().size());
    const State start = state;
    std::vector<float> average = random_state(1003, 0).gradient, expected = average;
    UpdateOperands operands = state.operands(*rule.rule);
    operands.average = average.data();
    operands.average_decay = 0.7;
    rule.rule->step(operands, {.learning_rate = rate, .step = 1});
    optim::average(state.weight.data(), expected.data(), 1003, 0.7);
    CHECK(state.weight != start.weight);
    CHECK(average == expected);
  }
}

TEST_CASE("weight decay without vectors excludes parameters of one dimension, from the trust ratio too") {
  const Parameter matrix{.name = "weight", .shape = {4, 3}}, vector{.name = "bias", .shape = {4}};
  const auto all = adam({.groups = {.weight_decay = 0.5}});
  const auto spared = adam({.groups = {.weight_decay = 0.5, .decays_vectors = false}});
  CHECK(all->group_of(vector).weight_decay == 0.5);
  CHECK(all->group_of(vector).has_trust_ratio);
  CHECK(spared->group_of(matrix).weight_decay == 0.5);
  CHECK(spared->group_of(matrix).has_trust_ratio);
  CHECK(spared->group_of(vector).weight_decay == 0);
  CHECK(!spared->group_of(vector).has_trust_ratio);
}

TEST_CASE("a weight's learning rate falls with its fan-in beyond the greatest, and every rule takes the factor") {
  const auto factor_of = [](const Shape& shape) {
    return ParameterGroups{.max_fan_in = 24}.of({.name = "weight", .shape = shape}).learning_rate_factor;
  };
  CHECK(factor_of({5, 24}) == 1);
  CHECK(factor_of({5, 96}) == 0.25);
  CHECK(factor_of({5, 4, 3, 4}) == 0.5);  // a convolution's: inputs x kernel
  CHECK(factor_of({96}) == 1);
  CHECK(ParameterGroups{}.of({.name = "weight", .shape = {5, 50176}}).learning_rate_factor == 1);

  for (const Rule& rule : rules()) {
    CAPTURE(rule.name);
    State scaled = random_state(1003, rule.rule->slot_names().size()), plain = scaled;
    UpdateOperands operands = scaled.operands(*rule.rule);
    operands.group.learning_rate_factor = 0.25;
    rule.rule->step(operands, {.learning_rate = 4 * rate, .step = 1});
    plain.step(*rule.rule, 1);
    CHECK(scaled.weight == plain.weight);
    CHECK(scaled.slots == plain.slots);
  }
}

TEST_CASE("the trust ratio of LARS and LAMB is 1 without one, and where a norm is 0") {
  for (const bool is_lars : {true, false}) {
    CAPTURE(is_lars);
    const auto rule = is_lars ? lars({.momentum = 0}) : lamb();
    const auto plain = is_lars ? sgd() : adam();
    const std::size_t slots = rule->slot_names().size(), plain_slots = plain->slot_names().size();
    State with = random_state(100, slots);
    for (std::vector<float>& slot : with.slots) std::ranges::fill(slot, 0.0F);
    State expected = with;
    expected.slots.resize(plain_slots);
    UpdateOperands operands = with.operands(*rule);
    operands.group.has_trust_ratio = false;
    rule->step(operands, {.learning_rate = rate, .step = 1});
    expected.step(*plain, 1);
    for (std::size_t i = 0; i < 100; ++i) CHECK(std::abs(with.weight[i] - expected.weight[i]) <= 1e-6);

    State zero = random_state(100, slots);
    std::ranges::fill(zero.weight, 0.0F);
    for (std::vector<float>& slot : zero.slots) std::ranges::fill(slot, 0.0F);
    State of_zero = zero;
    of_zero.slots.resize(plain_slots);
    CHECK(zero.step(*rule, 1));
    of_zero.step(*plain, 1);
    for (std::size_t i = 0; i < 100; ++i) CHECK(std::abs(zero.weight[i] - of_zero.weight[i]) <= 1e-6);

    State still = random_state(100, slots);
    std::ranges::fill(still.gradient, 0.0F);
    for (std::vector<float>& slot : still.slots) std::ranges::fill(slot, 0.0F);
    const std::vector<float> before = still.weight;
    CHECK(still.step(*rule, 1));
    CHECK(still.weight == before);
  }
}

TEST_CASE("update rules take a parameter in parts, with the parts' sums added between the passes") {
  for (const Rule& rule : rules()) {
    CAPTURE(rule.name);
    State whole = random_state(10'000, rule.rule->slot_names().size()), parts = whole;
    whole.step(*rule.rule, 3);
    const auto part = [&](std::int64_t begin, std::int64_t end) {
      UpdateOperands operands = parts.operands(*rule.rule);
      operands.weight += begin;
      operands.gradient += begin;
      operands.weight_bf16 += begin;
      for (float*& slot : operands.slots) slot += begin;
      operands.count = end - begin;
      return operands;
    };
    const UpdateFactors factors{.learning_rate = rate, .step = 3};
    std::vector<double> sums(rule.rule->sum_count());
    for (const auto& [begin, end] : {std::pair{0, 4096}, std::pair{4096, 10'000}}) {
      rule.rule->sum(part(begin, end), factors, sums);
    }
    for (const auto& [begin, end] : {std::pair{0, 4096}, std::pair{4096, 10'000}}) {
      CHECK(rule.rule->update(part(begin, end), factors, sums));
    }
    CHECK(parts.weight == whole.weight);
    CHECK(parts.slots == whole.slots);
  }
}

}  // namespace facet::optim
