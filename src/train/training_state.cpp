#include "train/training_state.h"

#include <nlohmann/json.hpp>

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

void to_json(nlohmann::json& json, const TrainingState& state) {
  const EpochSums& sums = state.sums;
  json = {{"epoch", state.epoch},
          {"batch", state.batch},
          {"step", state.step},
          {"best", state.best},
          {"sums",
           {{"steps", sums.steps},
            {"images", sums.images},
            {"loss", sums.loss},
            {"correct", sums.correct},
            {"labelled", sums.labelled},
            {"training_seconds", sums.training_seconds},
            {"seconds", sums.seconds}}}};
}

void from_json(const nlohmann::json& json, TrainingState& state) {
  json.at("epoch").get_to(state.epoch);
  json.at("batch").get_to(state.batch);
  json.at("step").get_to(state.step);
  json.at("best").get_to(state.best);
  const nlohmann::json& sums = json.at("sums");
  sums.at("steps").get_to(state.sums.steps);
  sums.at("images").get_to(state.sums.images);
  sums.at("loss").get_to(state.sums.loss);
  sums.at("correct").get_to(state.sums.correct);
  sums.at("labelled").get_to(state.sums.labelled);
  sums.at("training_seconds").get_to(state.sums.training_seconds);
  sums.at("seconds").get_to(state.sums.seconds);
}

}  // namespace facet::train
