#include "scaling.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <span>
#include <utility>

#include "base/median.h"
#include "base/random.h"
#include "comm/communicator.h"
#include "facet/error.h"
#include "facet/loader.h"
#include "facet/model_file.h"
#include "facet/sampler.h"
#include "facet/session.h"
#include "facet/train_options.h"
#include "ranks.h"
#include "result.h"
#include "scratch_folder.h"
#include "train/session.h"
#include "workload.h"

namespace facet::bench {

using nlohmann::json;

const char* name_of(Scaling scaling) { return scaling == Scaling::weak ? "weak" : "strong"; }

namespace {

/// A batch of synthetic pixels and labels.
Batch synthetic_batch(std::int64_t images, const ModelInfo& info, int rank) {
  base::RandomStream random(0, base::Purpose::synthesis, static_cast<std::uint64_t>(rank));
  Batch batch{.size = images};
  batch.pixels.resize(static_cast<std::size_t>(images * info.size.height * info.size.width * 3));
  std::ranges::generate(batch.pixels, [&] { return static_cast<std::uint8_t>(random.bits()); });
  for (const Head& head : info.heads) {
    const auto classes = static_cast<std::uint32_t>(head.classes.size());
    for (std::int64_t i = 0; i < images; ++i) batch.labels.push_back(static_cast<std::int32_t>(random.below(classes)));
  }
  return batch;
}

/// Adds what the exchange has taken since `before`, the mean over the ranks. All ranks call it.
void add_times(comm::ExchangeTimes& sums, const comm::ExchangeTimes& before, const comm::ExchangeTimes& now,
               const ProcessGroup& ranks) {
  std::array<double, 3> all{now.total - before.total, now.waited - before.waited, now.cpu - before.cpu};
  ranks.communicator().sum(std::span<double>(all));
  sums.total += all[0] / ranks.size();
  sums.waited += all[1] / ranks.size();
  sums.cpu += all[2] / ranks.size();
}

class ScalingBench {
 public:
  ScalingBench(const ProcessGroup& ranks, const ScalingOptions& options, const Graph& graph)
      : ranks_(ranks),
        options_(options),
        graph_(graph),
        info_{.model = options.model, .size = options.size, .heads = fairface_heads()} {
    for (const int count : options_.rank_counts) groups_.try_emplace(count, ranks_.first(count));
  }

  /// What is to be measured of a combination. All ranks call it together.
  ScalingTimes combination(Scaling scaling, int ranks, int threads) const {
    const ProcessGroup& group = groups_.at(ranks);
    ScalingTimes times{.ranks = ranks, .threads = threads};
    times.batch = options_.batch * (scaling == Scaling::weak ? ranks : 1);
    times.batch_per_rank = share_of(times.batch, 0, ranks).size;
    times.hosts = count_hosts(group);
    times.ranks_per_host = static_cast<int>(group.max(group.local_size()));
    return times;
  }

  /// Adds one round of steps. All ranks call it together.
  void measure(ScalingTimes& times) const {
    ranks_.together([&] {
      if (ranks_.rank() < times.ranks) run(groups_.at(times.ranks), times);
    });
  }

 private:
  /// A session of the options, with the primitives that the first round has chosen. They pass through a file, which is
  /// there only while the session is made.
  TrainingSession make_session(const ProcessGroup& group, const ScalingTimes& times) const {
    TrainOptions training;
    training.batch = times.batch;
    training.threads = times.threads;
    training.precision = options_.precision == "bf16" ? PrecisionChoice::bf16 : PrecisionChoice::f32;
    training.tune = !options_.no_tune;
    training.save_memory = options_.save_memory;
    training.reduce = options_.reduce == "bf16" ? Precision::bf16 : Precision::f32;
    training.processes = group;
    std::optional<ScratchFolder> folder;
    group.together([&] {
      if (group.rank() > 0 || times.seconds.empty()) return;
      folder.emplace();
      training.tuning_record = *folder / "primitives.json";
      times.tuning_record.save(training.tuning_record);
    });
    return {graph_, info_, training};
  }

  void run(const ProcessGroup& group, ScalingTimes& times) const {
    group.bind();
    TrainingSession session = make_session(group, times);
    group.together([&] {
      if (session.threads() != times.threads) {
        throw Error(fmt::format("{} compute threads are needed; OpenMP provides {}", times.threads, session.threads()));
      }
    });
    if (times.seconds.empty() && group.rank() == 0) times.tuning_record = session.state().tuning_record;
    const Batch batch = synthetic_batch(share_of(times.batch, group.rank(), group.size()).size, info_, group.rank());
    for (int i = 0; i < options_.warmup; ++i) session.step(batch);
    const comm::BucketExchange* const exchange = session.state().gradient_policy->exchange();
    const comm::ExchangeTimes before = exchange != nullptr ? exchange->times() : comm::ExchangeTimes{};
    if (exchange != nullptr && !times.communication) times.communication.emplace();
    std::vector<double> seconds;
    for (int i = 0; i < options_.iterations; ++i) {
      seconds.push_back(seconds_of([&] { session.step(batch); }));
      if (exchange != nullptr) times.communication->add_step(exchange->bucket_times());
    }
    const std::vector<double> slowest = slowest_of(group, seconds);
    times.seconds.insert(times.seconds.end(), slowest.begin(), slowest.end());
    if (exchange != nullptr) add_times(times.communication->times, before, exchange->times(), group);
  }

  ProcessGroup ranks_;
  const ScalingOptions& options_;
  const Graph& graph_;
  ModelInfo info_;
  std::map<int, ProcessGroup> groups_;  // by their number of ranks
};

/// Calls `function` for each combination, in the order of the results.
void for_each(const ScalingOptions& o, const auto& function) {
  for (const Scaling scaling : o.scalings) {
    for (const int ranks : o.rank_counts) {
      for (const int threads : o.thread_counts) function(scaling, ranks, threads);
    }
  }
}

bool are_same(const ScalingTimes& one, const ScalingTimes& other) {
  return one.ranks == other.ranks && one.threads == other.threads && one.batch == other.batch;
}

json communication_json(const Communication& communication) {
  json buckets = json::array();
  std::size_t bytes = 0;
  for (const comm::BucketTimes& bucket : communication.buckets()) {
    buckets.push_back({{"bytes", bucket.bytes},
                       {"gathered_bytes", bucket.gathered_bytes},
                       {"ready_ms", bucket.ready * 1e3},
                       {"needed_ms", bucket.needed * 1e3}});
    bytes += bucket.bytes;
  }
  const comm::ExchangeTimes& times = communication.times;
  return {{"communication_ms", times.total * 1e3},
          {"waited_ms", times.waited * 1e3},
          {"cpu_ms", times.cpu * 1e3},
          {"hidden", times.hidden()},
          {"gradient_bytes", bytes},
          {"buckets", buckets}};
}

double median_rate(const json& result) { return result["images_per_s"]["median"].get<double>(); }

}  // namespace

void Communication::add_step(std::span<const comm::BucketTimes> buckets) {
  steps_.resize(buckets.size());
  for (std::size_t i = 0; i < buckets.size(); ++i) steps_[i].push_back(buckets[i]);
}

std::vector<comm::BucketTimes> Communication::buckets() const {
  std::vector<comm::BucketTimes> medians;
  for (const std::vector<comm::BucketTimes>& steps : steps_) {
    std::vector<double> ready, needed;
    for (const comm::BucketTimes& step : steps) {
      ready.push_back(step.ready);
      needed.push_back(step.needed);
    }
    medians.push_back({steps.front().bytes, steps.front().gathered_bytes, base::median(ready), base::median(needed)});
  }
  std::ranges::stable_sort(medians, {}, &comm::BucketTimes::ready);
  return medians;
}

std::vector<ScalingTimes> measure_scaling(const ProcessGroup& ranks, const ScalingOptions& options,
                                          const Graph& graph) {
  const ScalingBench bench(ranks, options, graph);
  std::vector<ScalingTimes> measured;
  std::vector<std::size_t> results;  // indices of `measured`
  for_each(options, [&](Scaling scaling, int count, int threads) {
    const ScalingTimes times = bench.combination(scaling, count, threads);
    const auto found = std::ranges::find_if(measured, [&](const ScalingTimes& m) { return are_same(m, times); });
    results.push_back(static_cast<std::size_t>(found - measured.begin()));
    if (found == measured.end()) measured.push_back(times);
  });
  for (int round = 0; round < options.rounds; ++round) {
    for (ScalingTimes& times : measured) bench.measure(times);
  }
  const double steps = static_cast<double>(options.rounds) * options.iterations;
  for (ScalingTimes& times : measured) {
    if (!times.communication) continue;
    comm::ExchangeTimes& sums = times.communication->times;
    sums = {sums.total / steps, sums.waited / steps, sums.cpu / steps};
  }
  std::vector<ScalingTimes> all;
  for (const std::size_t index : results) all.push_back(measured[index]);
  return all;
}

std::vector<json> scaling_json(const std::vector<ScalingTimes>& times, const ScalingOptions& options,
                               const Graph& graph) {
  std::vector<json> results;
  std::map<Scaling, std::size_t> firsts;
  for_each(options, [&](Scaling scaling, int ranks, int threads) {
    const ScalingTimes& t = times[results.size()];
    const auto images = static_cast<double>(t.batch);
    std::vector<double> milliseconds;
    for (const double seconds : t.seconds) milliseconds.push_back(seconds * 1e3);
    const json ms = spread(milliseconds);
    const auto rate_at = [&](const char* statistic) { return images / ms[statistic].get<double>() * 1e3; };
    // The median is that of the times: of an even number of steps that of the rates would be another.
    const double median = rate_at("median"), least = rate_at("max"), most = rate_at("min");
    const std::size_t first = firsts.try_emplace(scaling, results.size()).first->second;

    json& result = results.emplace_back(result_json("scaling", options, graph, threads, t.tuning_record));
    result["name"] = fmt::format("{} {}x{}", name_of(scaling), ranks, threads);
    result["scaling"] = name_of(scaling);
    result["ranks"] = ranks;
    result["hosts"] = t.hosts;
    result["ranks_per_host"] = t.ranks_per_host;
    result["batch"] = t.batch;
    result["batch_per_rank"] = t.batch_per_rank;
    result["reduce"] = options.reduce;
    result["versions"]["mpi"] = comm::mpi_version();
    result["step_ms"] = ms;
    result["images_per_s"] = {{"median", median}, {"min", least}, {"max", most}, {"spread", (most - least) / median}};
    const double speed_up = median / median_rate(results[first]);
    const double resources = static_cast<double>(ranks) * threads / (times[first].ranks * times[first].threads);
    result["speed_up"] = speed_up;
    result["efficiency"] = speed_up / resources;
    if (t.communication) result.update(communication_json(*t.communication));
  });
  return results;
}

void print_scaling_table(const std::vector<json>& results) {
  fmt::print("{:<7}  {:>5}  {:>5}  {:>7}  {:>6}  {:>9}  {:>9}  {:>8}  {:>10}  {:>16}  {:>6}\n", "scaling", "ranks",
             "hosts", "threads", "batch", "step ms", "images/s", "speed-up", "efficiency", "communication ms",
             "hidden");
  for (const json& r : results) {
    const bool exchanges = r.contains("communication_ms");
    fmt::print("{:<7}  {:5}  {:5}  {:7}  {:6}  {:9.2f}  {:9.2f}  {:8.2f}  {:9.0f}%  {:>16}  {:>6}\n",
               r["scaling"].get<std::string>(), r["ranks"].get<int>(), r["hosts"].get<int>(), r["threads"].get<int>(),
               r["batch"].get<std::int64_t>(), r["step_ms"]["median"].get<double>(), median_rate(r),
               r["speed_up"].get<double>(), 100 * r["efficiency"].get<double>(),
               exchanges ? fmt::format("{:.2f}", r["communication_ms"].get<double>()) : "-",
               exchanges ? fmt::format("{:.0f}%", 100 * r["hidden"].get<double>()) : "-");
  }
}

}  // namespace facet::bench
