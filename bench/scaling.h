#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/bucket_exchange.h"
#include "facet/graph.h"
#include "facet/process_group.h"
#include "options.h"
#include "program/tuning_record.h"

/// Times training steps on several numbers of ranks and threads.
namespace facet::bench {

/// What stays the same while ranks are added: weak: the images of each rank; strong: those of all ranks together.
enum class Scaling { weak, strong };

/// Returns "weak" or "strong".
const char* name_of(Scaling scaling);

struct ScalingOptions : WorkloadOptions {
  std::vector<Scaling> scalings;
  /// Of a combination: the first so many ranks train, with so many threads each.
  std::vector<int> rank_counts, thread_counts;
  std::string reduce = "f32";      ///< TrainOptions::reduce
  int warmup = 2, iterations = 5;  ///< steps of each combination in each round
  int rounds = 3;
};

/// What a step's exchange takes.
class Communication {
 public:
  comm::ExchangeTimes times;  ///< of a step: the mean over the steps and the ranks

  /// Adds the buckets of a step; of all steps there are as many.
  void add_step(std::span<const comm::BucketTimes> buckets);
  /// Rank 0's buckets, in the order in which backward completes them: the medians over all steps.
  std::vector<comm::BucketTimes> buckets() const;

 private:
  std::vector<std::vector<comm::BucketTimes>> steps_;  // by bucket
};

/// The steps of `batch` images on the first `ranks` ranks, each of `threads` threads.
struct ScalingTimes {
  int ranks = 1, threads = 1;
  std::int64_t batch = 0;
  int hosts = 1, ranks_per_host = 1;                ///< ranks_per_host: the most on a host
  std::int64_t batch_per_rank = 0;                  ///< the greatest share
  std::vector<double> seconds = {};                 ///< of each step, those of the slowest rank
  std::optional<Communication> communication = {};  ///< nothing of a single rank
  program::TuningRecord tuning_record{false};       ///< the primitives that all rounds run
};

/// Measures all combinations once in each round, in turn. A combination's session is made anew in each round, with the
/// primitives that the first one has chosen, and is gone before the next combination. All ranks call it together;
/// those that aren't among a combination's wait without using a core.
/// @return the results on rank 0, by scaling, ranks and threads, in the options' order. What is the same in weak and
///   strong scaling is measured once.
std::vector<ScalingTimes> measure_scaling(const ProcessGroup& ranks, const ScalingOptions& options, const Graph& graph);

/// Returns the results of measure_scaling() with what `framework` to `images_per_s`, `speed_up` and `efficiency` are;
/// the last two are over the first result of the same scaling.
std::vector<nlohmann::json> scaling_json(const std::vector<ScalingTimes>& times, const ScalingOptions& options,
                                         const Graph& graph);
/// Prints one row per result.
void print_scaling_table(const std::vector<nlohmann::json>& results);

}  // namespace facet::bench
