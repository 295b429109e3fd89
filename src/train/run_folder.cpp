#include "train/run_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <system_error>
#include <vector>

#include "base/atomic_file.h"
#include "facet/error.h"
#include "facet/precision.h"
#include "interchange/model_file_with_state.h"
#include "interchange/safetensors.h"
#include "interchange/safetensors_header.h"
#include "program/parameter_store.h"
#include "train/file_system.h"
#include "train/record_fields.h"

namespace facet::train {
namespace {

constexpr const char* training_key = "training";
constexpr const char* optimizer_key = "optimizer_file";
constexpr const char* average_key = "average_file";
constexpr const char* average_what = "the weights' average";
constexpr std::string_view optimizer_prefix = "last.optimizer-";
constexpr std::string_view average_prefix = "last.average-";
constexpr std::string_view epoch_prefix = "epoch-";

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw Error(fmt::format("{}: the folder can't be made: {}", folder.string(), error.message()));
}

/// Files of a folder whose names begin with `prefix` and end as a checkpoint's do.
std::vector<std::filesystem::path> files_named(const std::filesystem::path& folder, std::string_view prefix) {
  std::vector<std::filesystem::path> files;
  for (const std::filesystem::path& file : entries_of(folder)) {
    const std::string name = file.filename().string();
    if (name.starts_with(prefix) && name.ends_with(".safetensors")) files.push_back(file);
  }
  return files;
}

/// What base::AtomicFile leaves beside our files when the process is killed.
void remove_temporaries(const std::filesystem::path& folder) {
  for (const std::filesystem::path& file : entries_of(folder)) {
    const std::string name = file.filename().string();
    for (const std::string_view ours :
         {".safetensors.tmp-", "metrics.csv.tmp-", "metrics.jsonl.tmp-", "choices.json.tmp-"}) {
      std::error_code ignored;
      if (name.find(ours) != std::string::npos) std::filesystem::remove(file, ignored);
    }
  }
}

nlohmann::ordered_json training_of(const interchange::SafetensorsReader& reader) {
  const auto found = reader.metadata().find(training_key);
  if (found == reader.metadata().end()) {
    throw Error(fmt::format("{}: it holds weights alone, not a run to go on with", reader.name()));
  }
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(found->second, nullptr, false);
  if (!json.is_object())
    throw Error(fmt::format("{}: `{}` in its metadata is no JSON object", reader.name(), training_key));
  return json;
}

/// Options of a record, each of which can be compared and shown.
nlohmann::ordered_json options_of(const nlohmann::ordered_json& training) {
  const nlohmann::ordered_json& options = field(training, "options");
  if (!options.is_object()) throw Error("`options` is no JSON object");
  for (const auto& [option, value] : options.items()) {
    if (!value.is_primitive()) throw Error(fmt::format("option {} is no single value", interchange::in_quotes(option)));
  }
  parse_precision(text_field(options, "precision"));
  return options;
}

[[noreturn]] void refuse_record(const interchange::SafetensorsReader& reader, const Error& error) {
  throw Error(fmt::format("{}: the run's record in it can't be used: {}", reader.name(), error.what()));
}

/// Calls `each` with every slot of every parameter that is trained and the name of its tensor.
template <class Each>
void for_each_slot(const Parameters::State& state, const Each& each) {
  for (std::size_t index = 0; index < state.list.size(); ++index) {
    if (!state.list[index].is_trained()) continue;
    for (std::size_t slot = 0; slot < state.slot_names.size(); ++slot) {
      each(static_cast<int>(index), static_cast<int>(slot), state.slot_names[slot] + "." + state.list[index].name);
    }
  }
}

void save_slots(const std::filesystem::path& file, const Parameters::State& state, std::int64_t step) {
  std::vector<interchange::TensorSource> tensors;
  for_each_slot(state, [&](int index, int slot, const std::string& name) {
    tensors.push_back({name, state.list[static_cast<std::size_t>(index)].shape,
                       [&state, index, slot] { return state.get_slot(index, slot); }, DataType::f32});
  });
  interchange::write_safetensors(file, {{"format", "facet-optimizer"}, {"step", std::to_string(step)}}, tensors);
}

void load_slots(const std::filesystem::path& file, Parameters::State& state) {
  const interchange::SafetensorsReader reader(file);
  for_each_slot(state, [&](int index, int slot, const std::string& name) {
    const interchange::TensorEntry& tensor = reader.require(name, state.list[static_cast<std::size_t>(index)].shape);
    const std::vector<float> values = reader.read_f32(tensor);
    interchange::require_finite(reader.name(), name, values, name.starts_with("exp_avg_sq."));
    state.set_slot(index, slot, values);
  });
}

}  // namespace

RunFolder::RunFolder(const std::filesystem::path& folder) : folder_(folder), checkpoints_(folder / "checkpoints") {}

std::filesystem::path RunFolder::epoch(std::int64_t number) const {
  return checkpoints_ / fmt::format("{}{:03}.safetensors", epoch_prefix, number);
}

std::filesystem::path RunFolder::beside_last(std::string_view prefix, std::int64_t step) const {
  return checkpoints_ / fmt::format("{}{}.safetensors", prefix, step);
}

void RunFolder::prepare() const {
  make_folder(checkpoints_);
  remove_temporaries(checkpoints_);
  remove_temporaries(folder_);
  // Whether they can be written shows now, and not after an epoch. A FIFO would wait for a reader.
  for (const std::filesystem::path& file : {last(), choices()}) {
    if (is_there(file) && !is_file(file)) throw Error(fmt::format("{}: is not a regular file", file.string()));
  }
  const base::AtomicFile checkpoint(last()), chosen(choices());
}

void RunFolder::save_last(const ModelInfo& info, const Parameters& parameters, const Parameters* average,
                          const RunRecord& record) const {
  const std::filesystem::path optimizer_file = beside_last(optimizer_prefix, record.state.step);
  save_slots(optimizer_file, parameters.state(), record.state.step);
  nlohmann::ordered_json training = to_record(record.state);
  training["options"] = record.options;
  training["threads"] = record.threads;
  training[optimizer_key] = optimizer_file.filename().string();
  std::filesystem::path average_file;
  if (average != nullptr) {
    average_file = beside_last(average_prefix, record.state.step);
    save_model(average_file, info, *average);
    training[average_key] = average_file.filename().string();
  }
  interchange::write_model_file(last(), info, parameters, {{training_key, training.dump()}});
  remove_others(optimizer_prefix, optimizer_file);
  remove_others(average_prefix, average_file);
}

void RunFolder::save_best(const ModelInfo& info, const Parameters& parameters) const {
  save_model(best(), info, parameters);
}

void RunFolder::save_epoch(std::int64_t number, int keep, const ModelInfo& info, const Parameters& parameters) const {
  save_model(epoch(number), info, parameters);
  std::vector<std::filesystem::path> kept;
  for (std::int64_t newest = number; newest > 0 && newest > number - keep; --newest) kept.push_back(epoch(newest));
  for (const std::filesystem::path& file : files_named(checkpoints_, epoch_prefix)) {
    std::error_code ignored;
    if (std::find(kept.begin(), kept.end(), file) == kept.end()) std::filesystem::remove(file, ignored);
  }
}

void RunFolder::remove_others(std::string_view prefix, const std::filesystem::path& kept) const {
  for (const std::filesystem::path& file : files_named(checkpoints_, prefix)) {
    std::error_code ignored;
    if (file != kept) std::filesystem::remove(file, ignored);
  }
}

RunRecord RunFolder::read_record() const {
  const interchange::SafetensorsReader reader(last());
  const nlohmann::ordered_json training = training_of(reader);
  const std::size_t heads = interchange::model_info_of(reader).heads.size();
  try {
    return {from_record(training, heads), options_of(training),
            static_cast<int>(whole_field(training, "threads", 1, std::numeric_limits<int>::max()))};
  } catch (const Error& error) {
    refuse_record(reader, error);
  }
}

ModelInfo RunFolder::read_info() const { return read_model_info(last()); }

std::optional<std::filesystem::path> RunFolder::average() const {
  const interchange::SafetensorsReader reader(last());
  if (!reader.metadata().contains(training_key) || !training_of(reader).contains(average_key)) return std::nullopt;
  return named_file(reader, average_key, average_what);
}

std::filesystem::path RunFolder::named_file(const interchange::SafetensorsReader& reader, const char* key,
                                            const std::string& what) const {
  std::filesystem::path name;
  try {
    name = text_field(training_of(reader), key);
  } catch (const Error& error) {
    refuse_record(reader, error);
  }
  if (name.empty() || name != name.filename()) {
    throw Error(fmt::format("{}: it names no file with {}", reader.name(), what));
  }
  return checkpoints_ / name;
}

void RunFolder::load_last(Parameters& parameters, Parameters* average) const {
  const interchange::SafetensorsReader reader(last());
  const std::filesystem::path optimizer_file = named_file(reader, optimizer_key, "the optimiser's state");
  interchange::load_weights(reader, parameters);
  load_slots(optimizer_file, parameters.state());
  if (average != nullptr) load_weights(named_file(reader, average_key, average_what), *average);
}

}  // namespace facet::train
