#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "facet/dataset.h"
#include "kernels/loss.h"

namespace facet::train {

/// The mean of a head's training loss over labelled images, without the head's weight.
struct MeanLoss {
  double loss = 0;    ///< sum over the labelled images
  double weight = 0;  ///< sum of the class weights of their labels

  void add(const kernels::LossSums& batch) {
    loss += batch.loss;
    weight += batch.weight;
  }
  /// NaN if no image has a weight above 0.
  double mean() const { return weight > 0 ? loss / weight : std::numeric_limits<double>::quiet_NaN(); }
};

/// The sums over the steps of an epoch so far.
struct EpochSums {
  std::int64_t steps = 0;
  std::int64_t images = 0;
  double loss = 0;                     ///< sum of the steps' losses, each the sum of the heads' means
  std::vector<MeanLoss> loss_sums;     ///< by head
  std::vector<std::int64_t> correct;   ///< by head
  std::vector<std::int64_t> labelled;  ///< by head
  double training_seconds = 0;         ///< spent waiting for batches and running steps
  double waited_seconds = 0;           ///< the part of training_seconds that was spent waiting for batches
  double communication_seconds = 0;    ///< the part of training_seconds that was spent waiting for communication
  double seconds = 0;                  ///< wall-clock time up to the last save

  /// The share of a head's labelled images that are classified correctly; NaN when none has a label.
  double accuracy(std::size_t head) const;
};

/// The progress of a run, between two steps.
struct TrainingState {
  std::int64_t epoch = 1;  ///< the epoch in progress, from 1
  std::int64_t batch = 0;  ///< finished batches of that epoch
  std::int64_t step = 0;   ///< finished steps of the optimiser
  double best = -1;        ///< highest mean validation accuracy over the heads; -1: none yet
  std::int64_t epochs_since_best = 0;
  EpochSums sums;

  /// Puts the state at the start of an epoch.
  void start_epoch(std::int64_t next, std::size_t heads);
};

nlohmann::ordered_json to_record(const TrainingState& state);
/// Reads what to_record() returned.
/// @throws Error naming the first member that is missing, of another type or out of range, without the file's name.
TrainingState from_record(const nlohmann::ordered_json& record, const std::vector<Head>& heads);

// Functions that read a member of a JSON object from an untrusted file. All throw Error naming the member, its value
// and the allowed values, without the file's name.

/// The largest accepted whole number. A double holds it exactly, and sums of a few of them don't overflow.
inline constexpr std::int64_t max_whole = std::int64_t{1} << 53;

const nlohmann::ordered_json& field(const nlohmann::ordered_json& object, const char* key);
std::string text_field(const nlohmann::ordered_json& object, const char* key);
double number_field(const nlohmann::ordered_json& object, const char* key, double least, double greatest);
/// @param least must be at least 0.
std::int64_t whole_field(const nlohmann::ordered_json& object, const char* key, std::int64_t least,
                         std::int64_t greatest = max_whole);
/// A list of `count` whole numbers of at least 0.
std::vector<std::int64_t> whole_fields(const nlohmann::ordered_json& object, const char* key, std::size_t count);
/// A list of `count` numbers of at least `least`.
std::vector<double> number_fields(const nlohmann::ordered_json& object, const char* key, std::size_t count,
                                  double least);

}  // namespace facet::train
