#include "train/run_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <system_error>
#include <vector>

#include "base/files.h"
#include "facet/error.h"
#include "facet/files.h"
#include "facet/precision.h"
#include "formats/model_file.h"
#include "formats/safetensors.h"
#include "formats/safetensors_header.h"
#include "program/parameter_store.h"
#include "train/training_state.h"

namespace facet::train {
namespace {

constexpr const char* training_key = "training";
constexpr const char* optimizer_key = "optimizer_file";
constexpr const char* average_key = "average_file";
constexpr std::string_view average_words = "the weights' average";
constexpr const char* validation_key = "validation_data";
constexpr const char* session_key = "session";
constexpr std::string_view optimizer_prefix = "last.optimizer-";
constexpr std::string_view average_prefix = "last.average-";
constexpr std::string_view epoch_prefix = "epoch-";

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    throw Error(fmt::format("{}: the folder can't be made: {}", folder.string(), error.message()), ErrorCode::io);
}

constexpr std::string_view suffix = ".safetensors";

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

/// Whether a file name consists of `prefix`, digits and ".safetensors".
bool is_numbered(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix) || !name.ends_with(suffix) || name.size() < prefix.size() + suffix.size()) return false;
  return is_number(name.substr(prefix.size(), name.size() - prefix.size() - suffix.size()));
}

std::vector<std::filesystem::path> files_numbered(const std::filesystem::path& folder, std::string_view prefix) {
  std::vector<std::filesystem::path> files;
  for (const std::filesystem::path& file : base::entries_of(folder)) {
    if (is_numbered(file.filename().string(), prefix)) files.push_back(file);
  }
  return files;
}

/// Whether facet, the library or the program, writes a file of this name into a run's folder.
bool is_ours(std::string_view name) {
  for (const std::string_view one : {"last.safetensors", "best.safetensors", "metrics.csv", "metrics.jsonl",
                                     "profile.json", "tuning.json", "run.cfg", "skipped.csv", "image-warnings.csv"}) {
    if (name == one) return true;
  }
  return is_numbered(name, optimizer_prefix) || is_numbered(name, average_prefix) || is_numbered(name, epoch_prefix);
}

/// Whether AtomicFile has left the file, NAME.tmp-PROCESS-ATTEMPT, because its process was killed.
bool is_temporary(std::string_view name) {
  constexpr std::string_view mark = ".tmp-";
  const std::size_t at = name.rfind(mark);
  if (at == std::string_view::npos || !is_ours(name.substr(0, at))) return false;
  const std::string_view numbers = name.substr(at + mark.size());
  const std::size_t dash = numbers.find('-');
  return dash != std::string_view::npos && is_number(numbers.substr(0, dash)) && is_number(numbers.substr(dash + 1));
}

void remove_temporaries(const std::filesystem::path& folder) {
  for (const std::filesystem::path& file : base::entries_of(folder)) {
    std::error_code ignored;
    if (is_temporary(file.filename().string())) std::filesystem::remove(file, ignored);
  }
}

nlohmann::ordered_json training_of(const formats::SafetensorsReader& reader) {
  const auto found = reader.metadata().find(training_key);
  if (found == reader.metadata().end()) {
    throw Error(fmt::format("{}: it holds weights alone, not a run to go on with", reader.name()),
                ErrorCode::invalid_data);
  }
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(found->second, nullptr, false);
  if (!json.is_object())
    throw Error(fmt::format("{}: `{}` in its metadata is not a JSON object", reader.name(), training_key),
                ErrorCode::invalid_data);
  return json;
}

/// The options of a run's record. @throws Error unless each is a single value, which can be compared and shown.
nlohmann::ordered_json options_of(const nlohmann::ordered_json& training) {
  const nlohmann::ordered_json& options = field(training, "options");
  if (!options.is_object()) throw Error("`options` is not a JSON object", ErrorCode::invalid_data);
  for (const auto& [option, value] : options.items()) {
    if (!value.is_primitive())
      throw Error(fmt::format("option {} is not a single value", formats::in_quotes(option)), ErrorCode::invalid_data);
  }
  parse_precision(text_field(options, "precision"));
  return options;
}

/// Calls `each`(parameter's index, slot's index, tensor's name) for every slot of every trained parameter.
template <class Each>
void for_each_slot(const Parameters::State& state, const Each& each) {
  for (std::size_t index = 0; index < state.list.size(); ++index) {
    if (!state.list[index].is_trained()) continue;
    for (std::size_t slot = 0; slot < state.slot_names.size(); ++slot) {
      each(static_cast<int>(index), static_cast<int>(slot), state.slot_names[slot] + "." + state.list[index].name);
    }
  }
}

void save_slots(const std::filesystem::path& file, const Parameters::State& state, std::int64_t step,
                const ReadSlot& read) {
  std::vector<formats::TensorSource> tensors;
  for_each_slot(state, [&](int index, int slot, const std::string& name) {
    tensors.push_back({name, state.list[static_cast<std::size_t>(index)].shape,
                       [&read, index, slot] { return read(index, slot); }, DataType::f32});
  });
  formats::write_safetensors(file, {{"format", "facet-optimizer"}, {"step", std::to_string(step)}}, tensors);
}

/// @throws Error naming the file and the first slot that it lacks or has in another shape.
void require_slots(const formats::SafetensorsReader& reader, const Parameters::State& state) {
  for_each_slot(state, [&](int index, int, const std::string& name) {
    reader.require(name, state.list[static_cast<std::size_t>(index)].shape);
  });
}

void load_slots(const formats::SafetensorsReader& reader, const Parameters::State& state, const WriteSlot& write) {
  for_each_slot(state, [&](int index, int slot, const std::string& name) {
    const formats::TensorEntry& tensor = reader.require(name, state.list[static_cast<std::size_t>(index)].shape);
    const std::vector<float> values = reader.read_f32(tensor);
    formats::require_finite(reader.name(), name, values, name.starts_with("exp_avg_sq."));
    write(index, slot, values);
  });
}

/// The path of the file beside last.safetensors whose name is the record's member `key`.
std::filesystem::path named_file(const formats::SafetensorsReader& reader, const nlohmann::ordered_json& training,
                                 const char* key, std::string_view what) {
  const std::filesystem::path name = text_field(training, key);
  if (name.empty() || name != name.filename())
    throw Error(fmt::format("it names no file with {}", what), ErrorCode::invalid_data);
  return std::filesystem::path(reader.name()).parent_path() / name;
}

}  // namespace

LastCheckpoint::LastCheckpoint(const std::filesystem::path& file)
    : reader_(file), info_(formats::model_info_of(reader_)) {
  const nlohmann::ordered_json training = training_of(reader_);
  try {
    record_.state = from_record(training, info_.heads);
    record_.options = options_of(training);
    record_.threads = static_cast<int>(whole_field(training, "threads", 1, std::numeric_limits<int>::max()));
    if (training.contains(validation_key)) record_.validation_data = text_field(training, validation_key);
    record_.is_session = training.contains(session_key);
    optimizer_file_ = named_file(reader_, training, optimizer_key, "the optimiser's state");
    if (training.contains(average_key)) average_file_ = named_file(reader_, training, average_key, average_words);
  } catch (const Error& error) {
    throw error.with_prefix(fmt::format("{}: the run's record in it can't be used: ", reader_.name()));
  }
}

void LastCheckpoint::load(Parameters& parameters, Parameters* average, const WriteSlot& write) const {
  if (average != nullptr && average_file_.empty()) {
    throw Error(fmt::format("{}: it names no file with {}", name(), average_words), ErrorCode::invalid_data);
  }
  const formats::SafetensorsReader slots(optimizer_file_);
  require_slots(slots, parameters.state());
  if (average != nullptr) formats::load_weights(formats::SafetensorsReader(average_file_), *average);
  formats::load_weights(reader_, parameters);
  load_slots(slots, parameters.state(), write);
}

RunFolder::RunFolder(const std::filesystem::path& folder) : folder_(folder), checkpoints_(folder / "checkpoints") {}

std::filesystem::path RunFolder::epoch(std::int64_t number) const {
  return checkpoints_ / fmt::format("{}{:03}.safetensors", epoch_prefix, number);
}

std::filesystem::path RunFolder::beside_last(std::string_view prefix, std::int64_t step) const {
  return checkpoints_ / fmt::format("{}{}.safetensors", prefix, step);
}

bool RunFolder::lock() {
  make_folder(folder_);
  return lock_.emplace(folder_).is_held();
}

bool RunFolder::has_metrics() const {
  return base::exists(folder_ / "metrics.csv") || base::exists(folder_ / "metrics.jsonl");
}

std::filesystem::path RunFolder::written_tuning_record() const {
  std::filesystem::path former = folder_ / "choices.json";
  return !base::exists(tuning_record()) && base::exists(former) ? former : tuning_record();
}

void RunFolder::prepare() const {
  make_folder(checkpoints_);
  remove_temporaries(checkpoints_);
  remove_temporaries(folder_);
  // Check that the files can be written now rather than after an epoch. Opening a FIFO would block until it has a
  // reader.
  for (const std::filesystem::path& file : {last(), tuning_record()}) {
    if (base::exists(file) && !base::is_file(file))
      throw Error(fmt::format("{}: is not a regular file", file.string()), ErrorCode::io);
  }
  const AtomicFile checkpoint(last()), chosen(tuning_record());
}

void RunFolder::remove_stale(const LastCheckpoint* last) const {
  remove_others(optimizer_prefix, last != nullptr ? last->optimizer_file() : "");
  remove_others(average_prefix, last != nullptr ? last->average_file() : "");
}

void RunFolder::save_last(const ModelInfo& info, const Parameters& parameters, const Parameters* average,
                          const RunRecord& record, const ReadSlot& read) const {
  const std::filesystem::path optimizer_file = beside_last(optimizer_prefix, record.state.step);
  save_slots(optimizer_file, parameters.state(), record.state.step, read);
  nlohmann::ordered_json training = to_record(record.state);
  training["options"] = record.options;
  training["threads"] = record.threads;
  if (!record.validation_data.empty()) training[validation_key] = record.validation_data;
  if (record.is_session) training[session_key] = true;
  training[optimizer_key] = optimizer_file.filename().string();
  std::filesystem::path average_file;
  if (average != nullptr) {
    average_file = beside_last(average_prefix, record.state.step);
    save_model(average_file, info, *average);
    training[average_key] = average_file.filename().string();
  }
  formats::write_model_file(last(), info, parameters, {{training_key, training.dump()}});
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
  for (const std::filesystem::path& file : files_numbered(checkpoints_, epoch_prefix)) {
    std::error_code ignored;
    if (std::find(kept.begin(), kept.end(), file) == kept.end()) std::filesystem::remove(file, ignored);
  }
}

void RunFolder::remove_others(std::string_view prefix, const std::filesystem::path& kept) const {
  for (const std::filesystem::path& file : files_numbered(checkpoints_, prefix)) {
    std::error_code ignored;
    if (file != kept) std::filesystem::remove(file, ignored);
  }
}

std::optional<std::filesystem::path> RunFolder::average() const {
  if (!formats::SafetensorsReader(last()).metadata().contains(training_key)) return std::nullopt;
  const LastCheckpoint checkpoint(last());
  if (checkpoint.average_file().empty()) return std::nullopt;
  return checkpoint.average_file();
}

}  // namespace facet::train
