#include "allreduce.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/median.h"
#include "base/memory.h"
#include "comm/bucket_exchange.h"
#include "comm/communicator.h"
#include "facet/error.h"
#include "ranks.h"
#include "result.h"
#include "workload.h"

namespace facet::bench {

using nlohmann::json;

const char* name_of(SumFunction function) {
  switch (function) {
    case SumFunction::mpi:
      return "MPI_Allreduce";
    case SumFunction::mpi_nonblocking:
      return "MPI_Iallreduce";
    default:
      return "facet";
  }
}

double SumTimes::median(SumFunction function) const {
  return base::median(seconds.at(static_cast<std::size_t>(function)));
}

SumFunction SumTimes::best_of_mpi() const {
  return median(SumFunction::mpi_nonblocking) < median(SumFunction::mpi) ? SumFunction::mpi_nonblocking
                                                                         : SumFunction::mpi;
}

double SumTimes::ratio(SumFunction function) const { return median(best_of_mpi()) / median(function); }

double SumTimes::bus_bandwidth(double time, int ranks) const {
  return 2.0 * (ranks - 1) / ranks * static_cast<double>(bytes) / time;
}

struct SumBench::Message {
  explicit Message(std::size_t bytes) : memory(base::PageBuffer::shareable(bytes)) {}

  std::span<float> values(std::size_t count) const { return {reinterpret_cast<float*>(memory.data()), count}; }

  base::PageBuffer memory;
  std::optional<comm::BucketExchange> exchange;  ///< of the size that is measured
};

namespace {

/// Small whole numbers, whose sums are exact in any order of addition.
constexpr std::size_t period = 101;

float value_of(std::size_t index, std::size_t rank) { return static_cast<float>((index + 37 * rank) % period); }

/// How often small messages are summed within one measurement, so that it is long enough for the clock and the ranks
/// that start it at slightly different times matter less.
std::size_t repetitions(std::size_t bytes) {
  constexpr std::size_t large = std::size_t{1} << 18, most = 16;
  return std::clamp<std::size_t>(large / bytes, 1, most);
}

}  // namespace

SumBench::SumBench(const ProcessGroup& ranks, const SumOptions& options) : ranks_(ranks), options_(options) {
  ranks_.together([&] { message_ = std::make_unique<Message>(std::ranges::max(options_.bytes)); });
}

SumBench::~SumBench() = default;

void SumBench::sum(SumFunction function, std::size_t values) {
  const std::span<float> message = message_->values(values);
  if (function != SumFunction::facet) {
    ranks_.communicator().library_sum(message, function == SumFunction::mpi_nonblocking);
    return;
  }
  comm::BucketExchange& exchange = *message_->exchange;
  exchange.start_reduce(0);
  exchange.finish_reduce(0);
  exchange.start_gather(0);
  exchange.finish_gather(0);
}

void SumBench::require_right(SumFunction function, std::size_t values) {
  const std::span<float> message = message_->values(values);
  for (std::size_t i = 0; i < values; ++i) message[i] = value_of(i, static_cast<std::size_t>(ranks_.rank()));
  sum(function, values);
  std::array<float, period> expected{};
  for (std::size_t i = 0; i < period; ++i) {
    for (std::size_t rank = 0; rank < static_cast<std::size_t>(ranks_.size()); ++rank) expected[i] += value_of(i, rank);
  }
  ranks_.together([&] {
    for (std::size_t i = 0; i < values; ++i) {
      if (message[i] == expected[i % period]) continue;
      throw Error(fmt::format("the sum of {} by {} is wrong: element {} is {}, and {} is right",
                              bytes_text(values * sizeof(float)), name_of(function), i, message[i],
                              expected[i % period]));
    }
  });
}

SumTimes SumBench::measure(std::size_t bytes) {
  const std::size_t values = bytes / sizeof(float);
  message_->exchange.emplace(ranks_.communicator(), std::vector<comm::Part>{{0, values}}, message_->memory,
                             comm::ExchangedValues{message_->memory}, comm::BucketExchange::Options());
  for (const SumFunction function : sum_functions) require_right(function, values);
  std::ranges::fill(message_->values(values), 0.0F);  // whose sums stay the same
  const std::size_t repeated = repetitions(bytes);
  SumTimes times{.bytes = bytes, .seconds = {}};
  for (int iteration = -options_.warmup; iteration < options_.iterations; ++iteration) {
    for (const SumFunction function : sum_functions) {
      ranks_.max(0);  // returns when all ranks are here
      const double seconds = seconds_of([&] {
        for (std::size_t i = 0; i < repeated; ++i) sum(function, values);
      });
      if (iteration < 0) continue;
      times.seconds.at(static_cast<std::size_t>(function)).push_back(seconds / static_cast<double>(repeated));
    }
  }
  for (std::vector<double>& seconds : times.seconds) seconds = slowest_of(ranks_, seconds);
  return times;
}

std::string bytes_text(std::size_t bytes) {
  for (const auto& [shift, unit] : {std::pair{30, "GiB"}, {20, "MiB"}, {10, "KiB"}}) {
    const std::size_t size = std::size_t{1} << shift;
    if (bytes >= size && bytes % size == 0) return fmt::format("{} {}", bytes / size, unit);
  }
  return fmt::format("{} B", bytes);
}

void print_sum_header() {
  fmt::print("{:>10}  {:>9}  {:>9}  {:<14}  {:>6}  {:>10}  {:>8}\n", "message", "facet ms", "MPI ms", "MPI by", "ratio",
             "facet GB/s", "MPI GB/s");
}

void print_sum(const SumTimes& times, int ranks) {
  const SumFunction theirs = times.best_of_mpi();
  const double ours_seconds = times.median(SumFunction::facet), their_seconds = times.median(theirs);
  fmt::print("{:>10}  {:9.4f}  {:9.4f}  {:<14}  {:6.2f}  {:10.2f}  {:8.2f}\n", bytes_text(times.bytes),
             ours_seconds * 1e3, their_seconds * 1e3, name_of(theirs), times.ratio(SumFunction::facet),
             times.bus_bandwidth(ours_seconds, ranks) / 1e9, times.bus_bandwidth(their_seconds, ranks) / 1e9);
  std::fflush(stdout);  // the following measurements take a while
}

std::vector<json> sum_json(const SumTimes& times, int ranks, const json& common) {
  std::vector<json> results;
  for (const SumFunction function : sum_functions) {
    std::vector<double> milliseconds;
    for (const double seconds : times.seconds.at(static_cast<std::size_t>(function))) {
      milliseconds.push_back(seconds * 1e3);
    }
    const json ms = spread(milliseconds);
    const auto rate_at = [&](const char* statistic) {
      return times.bus_bandwidth(ms[statistic].get<double>() / 1e3, ranks) / 1e9;
    };
    // The median is that of the times: of an even number of iterations that of the rates would be another.
    const double median = rate_at("median"), least = rate_at("max"), most = rate_at("min");
    json& result = results.emplace_back(common);
    result["framework"] = function == SumFunction::facet ? "facet" : comm::mpi_version();
    result["name"] = fmt::format("allreduce {}", bytes_text(times.bytes));
    result["function"] = name_of(function);
    result["bytes"] = times.bytes;
    result["ms"] = ms;
    result["gb_per_s"] = {{"median", median}, {"min", least}, {"max", most}, {"spread", (most - least) / median}};
    result["ratio"] = times.ratio(function);
  }
  return results;
}

}  // namespace facet::bench
