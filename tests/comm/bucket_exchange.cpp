#include "comm/bucket_exchange.h"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/bf16.h"
#include "comm/ranks.h"

namespace facet::test {
namespace {

using comm::BucketExchange;
using comm::Part;

/// The arrays of a rank. Gradients are random, different in each step and rank.
class Arrays {
 public:
  Arrays(std::size_t count, bool shares)
      : gradients_(make(count * sizeof(float), shares)),
        values_(make(count * sizeof(float), shares)),
        rounded_(make(count * sizeof(std::uint16_t), shares)),
        count_(count) {}

  const base::PageBuffer& gradient_buffer() const { return gradients_; }
  /// @param parts see comm::ExchangedValues.
  comm::ExchangedValues exchanged(std::vector<comm::RoundedPart> parts = {}) const {
    return {.values = values_, .rounded = &rounded_, .rounded_parts = std::move(parts)};
  }
  std::span<float> gradients() const { return {reinterpret_cast<float*>(gradients_.data()), count_}; }
  std::span<float> values() const { return {reinterpret_cast<float*>(values_.data()), count_}; }
  std::span<std::uint16_t> rounded() const { return {reinterpret_cast<std::uint16_t*>(rounded_.data()), count_}; }

 private:
  static base::PageBuffer make(std::size_t bytes, bool shares) {
    return shares ? base::PageBuffer::shareable(bytes) : base::PageBuffer(bytes);
  }

  base::PageBuffer gradients_, values_, rounded_;
  std::size_t count_;
};

std::vector<float> random_gradients(std::size_t count, int rank, int step) {
  std::mt19937 random(static_cast<unsigned>(100 * step + rank));
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random()) * 0x1p-30F - 2;
  return values;
}

/// Buckets of all kinds: large ones, one with fewer elements than there are ranks, and a gap before the last.
const std::vector<Part> buckets{{0, 5000}, {5008, 3}, {5024, 64}, {5088, 100000}, {200000, 777}};
constexpr std::size_t elements = 201000;

struct Layout {
  int ranks, on_host;
  bool shares;
  bool has_background = true;
};

/// Calls `body`(group, arrays, exchange) on each rank.
void on_ranks(const Layout& layout, const BucketExchange::Options& options, const auto& body) {
  run_on_threads(
      layout.ranks,
      [&](ProcessGroup& group) {
        const Arrays arrays(elements, layout.shares);
        BucketExchange exchange(group.communicator(), buckets, arrays.gradient_buffer(), arrays.exchanged(), options);
        body(group, arrays, exchange);
      },
      layout.on_host, layout.has_background);
}

const Layout layouts[] = {{1, 0, true},        {2, 0, true},       {2, 0, false}, {3, 1, true}, {4, 2, true},
                          {4, 2, false},       {6, 3, true},       {6, 2, true},  {5, 3, true},  // 5, 3: unequal hosts
                          {3, 1, true, false}, {4, 2, true, false}};

/// Starts and finishes everything as a step of training does; the new values are the sums plus the step's number.
void run_step(const ProcessGroup& group, const Arrays& arrays, BucketExchange& exchange, int step) {
  const std::vector<float> own = random_gradients(elements, group.rank(), step);
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    exchange.finish_gather(i);
    std::copy_n(own.begin() + static_cast<std::ptrdiff_t>(buckets[i].begin), buckets[i].count,
                arrays.gradients().begin() + static_cast<std::ptrdiff_t>(buckets[i].begin));
    exchange.start_reduce(i);
  }
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    exchange.finish_reduce(i);
    const Part part = exchange.own_part(i);
    for (std::size_t at = part.begin; at < part.end(); ++at) {
      arrays.values()[at] = arrays.gradients()[at] + static_cast<float>(step);
    }
  }
  for (std::size_t i = buckets.size(); i-- > 0;) exchange.start_gather(i);
}

}  // namespace

TEST_CASE("buckets are summed over all ranks, and all ranks get the values that each has computed") {
  for (const Layout& layout : layouts) {
    CAPTURE(layout.ranks);
    CAPTURE(layout.on_host);
    CAPTURE(layout.shares);
    std::vector<std::vector<float>> results(static_cast<std::size_t>(layout.ranks));
    constexpr int steps = 3;
    on_ranks(layout, {}, [&](const ProcessGroup& group, const Arrays& arrays, BucketExchange& exchange) {
      for (int step = 1; step <= steps; ++step) run_step(group, arrays, exchange, step);
      for (std::size_t i = 0; i < buckets.size(); ++i) exchange.finish_gather(i);
      results[static_cast<std::size_t>(group.rank())].assign(arrays.values().begin(), arrays.values().end());
    });
    std::vector<double> expected(elements);
    for (int rank = 0; rank < layout.ranks; ++rank) {
      const std::vector<float> gradients = random_gradients(elements, rank, steps);
      for (std::size_t i = 0; i < elements; ++i) expected[i] += gradients[i];
    }
    for (const std::vector<float>& result : results) CHECK(result == results[0]);
    std::size_t wrong = 0, written = 0;
    for (const Part& bucket : buckets) {
      written += bucket.count;
      for (std::size_t i = bucket.begin; i < bucket.end(); ++i) {
        if (std::abs(results[0][i] - (expected[i] + steps)) > 1e-5) ++wrong;
      }
    }
    CHECK(wrong == 0);
    CHECK(static_cast<std::size_t>(std::ranges::count(results[0], 0.0F)) >= elements - written);
  }
}

TEST_CASE("sums add in the order of the hosts and, within a host, of the ranks") {
  for (const Layout& layout : {Layout{4, 2, true}, Layout{6, 3, true}, Layout{3, 0, true}, Layout{3, 1, true}}) {
    CAPTURE(layout.ranks);
    CAPTURE(layout.on_host);
    const int on_host = layout.on_host == 0 ? layout.ranks : layout.on_host;
    std::vector<float> expected(elements);
    for (int host = 0; host < layout.ranks / on_host; ++host) {
      std::vector<float> of_host = random_gradients(elements, host * on_host, 1);
      for (int rank = host * on_host + 1; rank < (host + 1) * on_host; ++rank) {
        const std::vector<float> gradients = random_gradients(elements, rank, 1);
        for (std::size_t i = 0; i < elements; ++i) of_host[i] += gradients[i];
      }
      for (std::size_t i = 0; i < elements; ++i) expected[i] = host == 0 ? of_host[i] : expected[i] + of_host[i];
    }
    on_ranks(layout, {}, [&](const ProcessGroup& group, const Arrays& arrays, BucketExchange& exchange) {
      run_step(group, arrays, exchange, 1);
      for (std::size_t bucket = 0; bucket < buckets.size(); ++bucket) {
        exchange.finish_gather(bucket);
        const Part part = exchange.own_part(bucket);
        CHECK(std::equal(arrays.gradients().begin() + static_cast<std::ptrdiff_t>(part.begin),
                         arrays.gradients().begin() + static_cast<std::ptrdiff_t>(part.end()),
                         expected.begin() + static_cast<std::ptrdiff_t>(part.begin)));
      }
    });
  }
}

TEST_CASE("gradients that are sent as bf16 are rounded to nearest, ties to even, and added in f32") {
  const auto rounded = [](float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t below = bits & 0xFFFF0000U, above = below + 0x10000U;
    const double to_below = std::abs(static_cast<double>(value) - std::bit_cast<float>(below));
    const double to_above = std::abs(static_cast<double>(std::bit_cast<float>(above)) - value);
    const bool takes_below = to_below < to_above || (to_below == to_above && (below & 0x10000U) == 0);
    return std::bit_cast<float>(takes_below ? below : above);
  };
  on_ranks({2, 1, true}, {.reduces_bf16 = true},
           [&](const ProcessGroup& group, const Arrays& arrays, BucketExchange& exchange) {
             run_step(group, arrays, exchange, 1);
             const std::vector<float> own = random_gradients(elements, group.rank(), 1);
             const std::vector<float> sent = random_gradients(elements, 1 - group.rank(), 1);
             for (std::size_t bucket = 0; bucket < buckets.size(); ++bucket) {
               exchange.finish_gather(bucket);
               const Part part = exchange.own_part(bucket);
               std::size_t wrong = 0;
               for (std::size_t i = part.begin; i < part.end(); ++i) {
                 if (arrays.gradients()[i] != own[i] + rounded(sent[i])) ++wrong;
               }
               CHECK(wrong == 0);
             }
           });
}

TEST_CASE("infinite gradients and NaN stay so, in bf16 too") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const bool bf16 : {false, true}) {
    on_ranks({2, 1, true}, {.reduces_bf16 = bf16},
             [&](const ProcessGroup& group, const Arrays& arrays, BucketExchange& exchange) {
               for (const std::size_t bucket : {std::size_t{0}, std::size_t{3}}) {
                 for (const int rank : {0, 1}) {
                   const std::size_t at = exchange.part(bucket, rank).begin;
                   arrays.gradients()[at] = group.rank() == 0 ? infinity : 1;
                   arrays.gradients()[at + 1] = group.rank() == 0 ? std::bit_cast<float>(0x7F800001U) : 1;
                   arrays.gradients()[at + 2] = group.rank() == 0 ? -infinity : infinity;
                   arrays.gradients()[at + 3] = group.rank() == 0 ? -0.0F : 0.0F;
                 }
                 exchange.start_reduce(bucket);
                 exchange.finish_reduce(bucket);
                 const float* const own = arrays.gradients().data() + exchange.own_part(bucket).begin;
                 CHECK(own[0] == infinity);
                 CHECK(std::isnan(own[1]));
                 CHECK(std::isnan(own[2]));
                 CHECK(own[3] == 0);
               }
             });
  }
}

TEST_CASE("sums that all ranks abandon change nothing of later ones") {
  for (const Layout& layout : layouts) {
    CAPTURE(layout.ranks);
    CAPTURE(layout.on_host);
    CAPTURE(layout.shares);
    std::vector<std::vector<float>> results(static_cast<std::size_t>(layout.ranks)), undisturbed = results;
    for (const bool abandons : {false, true}) {
      on_ranks(layout, {}, [&](const ProcessGroup& group, const Arrays& arrays, BucketExchange& exchange) {
        run_step(group, arrays, exchange, 1);
        if (abandons) {
          for (const std::size_t i : {std::size_t{0}, std::size_t{1}, std::size_t{2}}) {  // others are on their way
            exchange.finish_gather(i);
            exchange.start_reduce(i);
          }
          exchange.abandon_reduces();
        }
        run_step(group, arrays, exchange, 2);
        for (std::size_t i = 0; i < buckets.size(); ++i) exchange.finish_gather(i);
        (abandons ? results : undisturbed)[static_cast<std::size_t>(group.rank())].assign(arrays.values().begin(),
                                                                                          arrays.values().end());
      });
    }
    CHECK(results == undisturbed);
  }
}

TEST_CASE("each element of a range belongs to one rank") {
  for (const Layout& layout : layouts) {
    CAPTURE(layout.ranks);
    on_ranks(layout, {}, [&](const ProcessGroup& group, const Arrays&, BucketExchange& exchange) {
      if (group.rank() != 0) return;
      for (const Part range : {Part{0, elements}, Part{5000, 30}, Part{6000, 50000}, Part{150000, 100}, Part{17, 0}}) {
        std::vector<int> owners(elements);
        for (int rank = 0; rank < layout.ranks; ++rank) {
          for (const Part& part : exchange.parts_within(range, rank)) {
            for (std::size_t i = part.begin; i < part.end(); ++i) ++owners[i];
          }
        }
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < elements; ++i) {
          if (owners[i] != (i >= range.begin && i < range.end() ? 1 : 0)) ++wrong;
        }
        CHECK(wrong == 0);
      }
      for (std::size_t bucket = 0; bucket < buckets.size(); ++bucket) {
        const Part own = exchange.part(bucket, 0);
        CHECK(own.count <= buckets[bucket].count / static_cast<std::size_t>(layout.ranks) + 16);
      }
    });
  }
}

TEST_CASE("the parts of another array are given to all ranks at once") {
  for (const Layout& layout : layouts) {
    on_ranks(layout, {}, [&](const ProcessGroup& group, const Arrays&, BucketExchange& exchange) {
      std::vector<float> array(elements, -1.0F), expected(elements, -1.0F);
      for (int rank = 0; rank < layout.ranks; ++rank) {
        for (std::size_t bucket = 0; bucket < buckets.size(); ++bucket) {
          const Part part = exchange.part(bucket, rank);
          for (std::size_t i = part.begin; i < part.end(); ++i) {
            expected[i] = static_cast<float>(i);
            if (rank == group.rank()) array[i] = static_cast<float>(i);
          }
        }
      }
      exchange.gather(array);
      CHECK(array == expected);
    });
  }
}

namespace {

/// Parts of all kinds: of one bucket and of several, with the gaps between; two neighbours, and a whole bucket.
const std::vector<comm::RoundedPart> rounded_parts{
    {{100, 3000}, 64}, {{4000, 1010}, 4000}, {{5024, 64}, 5100}, {{10000, 20000}, 10000}, {{30000, 60000}, 100000}};

/// Trains steps as run_step() does, with values of which some parts are given rounded to bf16, and checks what each
/// rank has then.
void check_rounded(const ProcessGroup& group, bool shares) {
  const Arrays arrays(elements, shares);
  BucketExchange exchange(group.communicator(), buckets, arrays.gradient_buffer(), arrays.exchanged(rounded_parts), {});
  constexpr float untouched = -1000;
  const auto in_buckets = [](std::size_t i) {
    return std::ranges::any_of(buckets, [&](const Part& bucket) { return i >= bucket.begin && i < bucket.end(); });
  };
  std::vector<std::size_t> rounded_at(elements);  // by element: its place in the rounded array, from 1; 0: none
  for (const comm::RoundedPart& part : rounded_parts) {
    for (std::size_t i = 0; i < part.elements.count; ++i) rounded_at[part.elements.begin + i] = part.begin + i + 1;
  }
  std::vector<char> is_own(elements);
  for (const Part& part : exchange.parts_within({0, elements}, group.rank())) {
    std::fill_n(is_own.begin() + static_cast<std::ptrdiff_t>(part.begin), part.count, 1);
  }
  std::ranges::fill(arrays.values(), untouched);
  constexpr int steps = 3;
  std::vector<float> expected;
  for (int step = 1; step <= steps; ++step) {
    // All ranks' values, of which each computes its own part.
    expected = random_gradients(elements, 0, step);
    for (std::size_t i = 0; i < buckets.size(); ++i) {
      exchange.finish_gather(i);
      exchange.start_reduce(i);
    }
    for (std::size_t i = 0; i < buckets.size(); ++i) {
      exchange.finish_reduce(i);
      const Part part = exchange.own_part(i);
      for (std::size_t at = part.begin; at < part.end(); ++at) {
        arrays.values()[at] = expected[at];
        if (rounded_at[at] > 0) arrays.rounded()[rounded_at[at] - 1] = base::to_bf16(expected[at]);
      }
    }
    for (std::size_t i = buckets.size(); i-- > 0;) exchange.start_gather(i);
  }
  for (std::size_t i = 0; i < buckets.size(); ++i) exchange.finish_gather(i);

  std::vector<std::uint16_t> expected_rounded(elements);
  std::vector<float> expected_values(elements, untouched), all = expected_values;
  for (std::size_t i = 0; i < elements; ++i) {
    if (!in_buckets(i)) continue;
    all[i] = expected[i];
    if (rounded_at[i] > 0) expected_rounded[rounded_at[i] - 1] = base::to_bf16(expected[i]);
    if (rounded_at[i] == 0 || is_own[i] != 0) expected_values[i] = expected[i];
  }
  CHECK(std::ranges::equal(arrays.rounded(), expected_rounded));
  CHECK(std::ranges::equal(arrays.values(), expected_values));
  exchange.gather_rounded_values();
  CHECK(std::ranges::equal(arrays.values(), all));
  std::size_t rounded = 0;  // elements of the buckets
  for (std::size_t i = 0; i < elements; ++i) rounded += rounded_at[i] > 0 && in_buckets(i) ? 1 : 0;
  std::size_t bytes = 0, gathered = 0;
  for (const comm::BucketTimes& bucket : exchange.bucket_times()) {
    bytes += bucket.bytes;
    gathered += bucket.gathered_bytes;
  }
  CHECK(gathered == bytes - rounded * sizeof(std::uint16_t));
}

}  // namespace

TEST_CASE("values are given in f32, and those of some parts rounded to bf16") {
  for (const Layout& layout : layouts) {
    CAPTURE(layout.ranks);
    CAPTURE(layout.on_host);
    CAPTURE(layout.shares);
    run_on_threads(
        layout.ranks, [&](ProcessGroup& group) { check_rounded(group, layout.shares); }, layout.on_host,
        layout.has_background);
  }
}

TEST_CASE("the values of a bucket are one message to each rank, also where some of them are rounded") {
  for (const bool has_background : {false, true}) {
    run_on_threads(
        3,
        [&](ProcessGroup& group) {
          const Arrays arrays(elements, true);
          BucketExchange exchange(group.communicator(), buckets, arrays.gradient_buffer(),
                                  arrays.exchanged(rounded_parts), {});
          run_step(group, arrays, exchange, 1);
          for (std::size_t i = 0; i < buckets.size(); ++i) exchange.finish_gather(i);
          const auto& transport = dynamic_cast<const ThreadTransport&>(*group.communicator().transport());
          const int before = transport.exchanges();
          for (std::size_t i = 0; i < buckets.size(); ++i) exchange.start_gather(i);
          for (std::size_t i = 0; i < buckets.size(); ++i) exchange.finish_gather(i);
          CHECK(transport.exchanges() - before == std::ssize(buckets));
        },
        1, has_background);
  }
}

TEST_CASE("rounded values between the processes of MPI, in shared memory and in messages") {
  for (const int size : {2, 3, 4}) {
    for (const bool shares : {true, false}) {
      run_ranks(size, [&](ProcessGroup& group) { check_rounded(group, shares); });
    }
  }
}

TEST_CASE("an exchange counts what it takes, and what of it is waited for") {
  for (const Layout& layout : {Layout{2, 0, true}, Layout{2, 1, true}}) {
    CAPTURE(layout.on_host);
    on_ranks(layout, {}, [&](const ProcessGroup& group, const Arrays& arrays, BucketExchange& exchange) {
      CHECK(exchange.times().total == 0);
      for (int step = 1; step <= 2; ++step) run_step(group, arrays, exchange, step);
      for (std::size_t i = 0; i < buckets.size(); ++i) exchange.finish_gather(i);
      const comm::ExchangeTimes times = exchange.times();
      CHECK(times.total > 0);
      CHECK(times.waited > 0);
      CHECK(times.cpu > 0);
      CHECK(times.hidden() >= 0);
      CHECK(times.hidden() <= 1);
      for (std::size_t i = 0; i < buckets.size(); ++i) {
        CHECK(exchange.bucket_times()[i].bytes == buckets[i].count * sizeof(float));
        CHECK(exchange.bucket_times()[i].gathered_bytes == buckets[i].count * sizeof(float));
        CHECK(exchange.bucket_times()[i].ready > 0);
        CHECK(exchange.bucket_times()[i].needed >= 0);
      }
    });
  }
}

TEST_CASE("buckets between the processes of MPI, in shared memory and in messages") {
  for (const bool shares : {true, false}) {
    run_ranks(3, [&](ProcessGroup& group) {
      const Arrays arrays(elements, shares);
      BucketExchange exchange(group.communicator(), buckets, arrays.gradient_buffer(), arrays.exchanged(), {});
      constexpr int steps = 5;
      for (int step = 1; step <= steps; ++step) {
        run_step(group, arrays, exchange, step);
        group.max(step);  // in the foreground, beside what goes on in the background
      }
      for (std::size_t i = 0; i < buckets.size(); ++i) exchange.finish_gather(i);
      std::vector<float> expected(elements);
      for (int rank = 0; rank < group.size(); ++rank) {
        const std::vector<float> gradients = random_gradients(elements, rank, steps);
        for (std::size_t i = 0; i < elements; ++i) expected[i] += gradients[i];
      }
      std::size_t wrong = 0;
      for (const Part& bucket : buckets) {
        for (std::size_t i = bucket.begin; i < bucket.end(); ++i) {
          if (arrays.values()[i] != expected[i] + static_cast<float>(steps)) ++wrong;
        }
      }
      CHECK(wrong == 0);
    });
  }
}

}  // namespace facet::test
