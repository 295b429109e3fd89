#include "train/training_state.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "facet/error.h"
#include "train/record_fields.h"

namespace facet::train {

double EpochSums::accuracy(std::size_t head) const {
  return labelled[head] == 0 ? 0 : static_cast<double>(correct[head]) / static_cast<double>(labelled[head]);
}

void TrainingState::start_epoch(std::int64_t next, std::size_t heads) {
  epoch = next;
  batch = 0;
  sums = {};
  sums.correct.assign(heads, 0);
  sums.labelled.assign(heads, 0);
}

nlohmann::ordered_json to_record(const TrainingState& state) {
  const EpochSums& sums = state.sums;
  return {{"epoch", state.epoch},
          {"batch", state.batch},
          {"step", state.step},
          {"best", state.best},
          {"epochs_since_best", state.epochs_since_best},
          {"sums",
           {{"steps", sums.steps},
            {"images", sums.images},
            {"loss", sums.loss},
            {"correct", sums.correct},
            {"labelled", sums.labelled},
            {"training_seconds", sums.training_seconds},
            {"waited_seconds", sums.waited_seconds},
            {"seconds", sums.seconds}}}};
}

TrainingState from_record(const nlohmann::ordered_json& record, std::size_t heads) {
  constexpr double any = std::numeric_limits<double>::max();
  TrainingState state;
  state.epoch = whole_field(record, "epoch", 1);
  state.batch = whole_field(record, "batch", 0);
  state.step = whole_field(record, "step", 0);
  state.best = number_field(record, "best", -1, 1);
  // The first versions didn't write it.
  if (record.contains("epochs_since_best")) state.epochs_since_best = whole_field(record, "epochs_since_best", 0);
  const nlohmann::ordered_json& fields = field(record, "sums");
  EpochSums& sums = state.sums;
  sums.steps = whole_field(fields, "steps", 0);
  sums.images = whole_field(fields, "images", 0);
  sums.loss = number_field(fields, "loss", 0, any);
  sums.correct = whole_fields(fields, "correct", heads);
  sums.labelled = whole_fields(fields, "labelled", heads);
  for (std::size_t head = 0; head < heads; ++head) {
    if (sums.correct[head] <= sums.labelled[head] && sums.labelled[head] <= sums.images) continue;
    throw Error(fmt::format("{} images, {} of them labelled and {} right for a head", sums.images, sums.labelled[head],
                            sums.correct[head]));
  }
  sums.training_seconds = number_field(fields, "training_seconds", 0, any);
  if (fields.contains("waited_seconds")) sums.waited_seconds = number_field(fields, "waited_seconds", 0, any);
  sums.seconds = number_field(fields, "seconds", 0, any);
  return state;
}

}  // namespace facet::train
