#include "train/training_state.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "facet/error.h"
#include "formats/safetensors_header.h"

namespace facet::train {

namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void refuse(const char* key, const Json& found, const std::string& allowed) {
  // A list or an object may be nested too deeply for dump(), which recurses.
  const std::string what = found.is_primitive() ? formats::in_quotes(found.dump()) : found.type_name();
  throw Error(fmt::format("`{}` is {}; {} is allowed", key, what, allowed), ErrorCode::invalid_data);
}

std::int64_t whole(const char* key, const Json& value, std::int64_t least, std::int64_t greatest) {
  // get() turns an unsigned number of 2^63 or more into a negative one, which is out of range too.
  if (value.is_number_integer()) {
    const auto number = value.get<std::int64_t>();
    if (number >= least && number <= greatest) return number;
  }
  refuse(key, value, fmt::format("a whole number of {} to {}", least, greatest));
}

double number(const char* key, const Json& value, double least, double greatest) {
  if (value.is_number()) {
    const auto number = value.get<double>();
    if (number >= least && number <= greatest) return number;
  }
  refuse(key, value, fmt::format("a number of {} to {:.3g}", least, greatest));
}

/// The list of `count` values under `key`.
const Json& list_field(const Json& object, const char* key, std::size_t count) {
  const Json& list = field(object, key);
  if (!list.is_array()) refuse(key, list, "a list");
  if (list.size() == count) return list;
  throw Error(fmt::format("`{}` is a list of {}; one of {} is allowed, a number a head", key, list.size(), count),
              ErrorCode::invalid_data);
}

}  // namespace

const Json& field(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) throw Error(fmt::format("`{}` is missing", key), ErrorCode::invalid_data);
  return *found;
}

std::string text_field(const Json& object, const char* key) {
  const Json& value = field(object, key);
  if (!value.is_string()) refuse(key, value, "a string");
  return value.get<std::string>();
}

double number_field(const Json& object, const char* key, double least, double greatest) {
  return number(key, field(object, key), least, greatest);
}

std::int64_t whole_field(const Json& object, const char* key, std::int64_t least, std::int64_t greatest) {
  return whole(key, field(object, key), least, greatest);
}

std::vector<std::int64_t> whole_fields(const Json& object, const char* key, std::size_t count) {
  std::vector<std::int64_t> numbers;
  for (const Json& value : list_field(object, key, count)) numbers.push_back(whole(key, value, 0, max_whole));
  return numbers;
}

std::vector<double> number_fields(const Json& object, const char* key, std::size_t count, double least) {
  constexpr double any = std::numeric_limits<double>::max();
  std::vector<double> numbers;
  for (const Json& value : list_field(object, key, count)) numbers.push_back(number(key, value, least, any));
  return numbers;
}

double EpochSums::accuracy(std::size_t head) const {
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  return labelled[head] == 0 ? none : static_cast<double>(correct[head]) / static_cast<double>(labelled[head]);
}

void TrainingState::start_epoch(std::int64_t next, std::size_t heads) {
  epoch = next;
  batch = 0;
  sums = {};
  sums.loss_sums.assign(heads, {});
  sums.correct.assign(heads, 0);
  sums.labelled.assign(heads, 0);
}

nlohmann::ordered_json to_record(const TrainingState& state) {
  const EpochSums& sums = state.sums;
  std::vector<double> head_loss, head_weight;
  for (const MeanLoss& head : sums.loss_sums) {
    head_loss.push_back(head.loss);
    head_weight.push_back(head.weight);
  }
  return {{"epoch", state.epoch},
          {"batch", state.batch},
          {"step", state.step},
          {"best", state.best},
          {"epochs_since_best", state.epochs_since_best},
          {"sums",
           {{"steps", sums.steps},
            {"images", sums.images},
            {"loss", sums.loss},
            {"head_loss", head_loss},
            {"head_weight", head_weight},
            {"correct", sums.correct},
            {"labelled", sums.labelled},
            {"training_seconds", sums.training_seconds},
            {"waited_seconds", sums.waited_seconds},
            {"communication_waited_seconds", sums.communication_seconds},
            {"seconds", sums.seconds}}}};
}

TrainingState from_record(const nlohmann::ordered_json& record, const std::vector<Head>& head_list) {
  const std::size_t heads = head_list.size();
  constexpr double any = std::numeric_limits<double>::max();
  TrainingState state;
  state.epoch = whole_field(record, "epoch", 1);
  state.batch = whole_field(record, "batch", 0);
  state.step = whole_field(record, "step", 0);
  state.best = number_field(record, "best", -1, 1);
  // The first versions don't write this member.
  if (record.contains("epochs_since_best")) state.epochs_since_best = whole_field(record, "epochs_since_best", 0);
  const nlohmann::ordered_json& fields = field(record, "sums");
  EpochSums& sums = state.sums;
  sums.steps = whole_field(fields, "steps", 0);
  sums.images = whole_field(fields, "images", 0);
  sums.loss = number_field(fields, "loss", -any, any);  // a loss of the caller's own may be negative
  sums.loss_sums.resize(heads);
  if (fields.contains("head_loss")) {  // earlier versions don't write these two
    const std::vector<double> loss = number_fields(fields, "head_loss", heads, -any);
    const std::vector<double> weight = number_fields(fields, "head_weight", heads, 0);
    for (std::size_t head = 0; head < heads; ++head) sums.loss_sums[head] = {loss[head], weight[head]};
  }
  sums.correct = whole_fields(fields, "correct", heads);
  sums.labelled = whole_fields(fields, "labelled", heads);
  for (std::size_t head = 0; head < heads; ++head) {
    // A head of several labels counts each of them.
    const auto outputs = static_cast<std::int64_t>(head_list[head].classes.size());
    if (sums.correct[head] <= sums.labelled[head] && (sums.labelled[head] + outputs - 1) / outputs <= sums.images)
      continue;
    throw Error(fmt::format("{} images, {} of them labelled and {} right for a head", sums.images, sums.labelled[head],
                            sums.correct[head]),
                ErrorCode::invalid_data);
  }
  sums.training_seconds = number_field(fields, "training_seconds", 0, any);
  // Earlier versions don't write these two.
  if (fields.contains("waited_seconds")) sums.waited_seconds = number_field(fields, "waited_seconds", 0, any);
  if (fields.contains("communication_waited_seconds")) {
    sums.communication_seconds = number_field(fields, "communication_waited_seconds", 0, any);
  }
  sums.seconds = number_field(fields, "seconds", 0, any);
  return state;
}

}  // namespace facet::train
