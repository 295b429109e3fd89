#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

namespace facet::train {

/// What the steps of an epoch came to so far.
struct EpochSums {
  std::int64_t steps = 0;
  std::int64_t images = 0;
  double loss = 0;                     ///< of the steps' losses, each the sum of the heads' means
  std::vector<std::int64_t> correct;   ///< by head
  std::vector<std::int64_t> labelled;  ///< by head
  double training_seconds = 0;         ///< waiting for batches and running steps
  double waited_seconds = 0;           ///< of these, waiting for batches
  double seconds = 0;                  ///< of the clock, up to the last save

  /// Of a head's labelled images; 0 when there are none.
  double accuracy(std::size_t head) const;
};

/// Where a run stands: between two steps.
struct TrainingState {
  std::int64_t epoch = 1;  ///< in progress, from 1
  std::int64_t batch = 0;  ///< batches of it that are done
  std::int64_t step = 0;   ///< of the optimiser, done
  double best = -1;        ///< highest mean validation accuracy over the heads; -1: none yet
  std::int64_t epochs_since_best = 0;
  EpochSums sums;

  /// Puts the state at the start of an epoch.
  void start_epoch(std::int64_t next, std::size_t heads);
};

nlohmann::ordered_json to_record(const TrainingState& state);
/// @throws Error naming the first member that is missing, of another type or out of range, without the file's name.
TrainingState from_record(const nlohmann::ordered_json& record, std::size_t heads);

}  // namespace facet::train
