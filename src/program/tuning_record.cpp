#include "program/tuning_record.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "facet/error.h"
#include "facet/files.h"
#include "facet/machine.h"
#include "onednn/onednn.h"

namespace facet::program {

TuningRecord TuningRecord::load(const std::filesystem::path& file, bool tune) {
  return parse(file.string(), read_text(file), tune);
}

TuningRecord TuningRecord::parse(const std::string& source, const std::string& text, bool tune) {
  TuningRecord tuning_record(tune);
  try {
    const auto json = nlohmann::json::parse(text);
    tuning_record.chosen_ = json.at("choices").get<std::map<std::string, std::string>>();
  } catch (const nlohmann::json::exception&) {
    throw Error(
        fmt::format("{}: no tuning record found; JSON as {{\"choices\": {{\"KEY\": \"CANDIDATE\", ...}}}} needed",
                    source),
        ErrorCode::invalid_data);
  }
  return tuning_record;
}

void TuningRecord::save(const std::filesystem::path& file) const {
  AtomicFile out(file);
  out.write(to_text());
  out.commit();
}

std::string TuningRecord::to_text() const { return nlohmann::json{{"choices", chosen_}}.dump(1) + "\n"; }

std::string threads_of_key(int threads) { return fmt::format(" threads {}", threads); }

TuningRecord TuningRecord::without_tuning() const {
  TuningRecord copy = *this;
  copy.tune_ = false;
  return copy;
}

TuningRecord TuningRecord::for_threads(int from, int to) const {
  TuningRecord copy = without_tuning();
  const std::string end = threads_of_key(from);
  for (const auto& [key, candidate] : chosen_) {
    if (key.ends_with(end)) copy.record(key.substr(0, key.size() - end.size()) + threads_of_key(to), candidate);
  }
  return copy;
}

std::string TuningRecord::find(const std::string& key) const {
  const auto found = chosen_.find(key);
  return found != chosen_.end() ? found->second : std::string();
}

void TuningRecord::record(const std::string& key, const std::string& candidate) { chosen_[key] = candidate; }

void TuningRecord::record_measured(const std::string& key, const std::string& candidate) {
  record(key, candidate);
  measured_.insert(key);
}

namespace {

using Entries = std::map<std::string, std::string>;

/// Whether our own kernels are slower than in a release: such builds have a tuning cache of their own.
#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
constexpr bool slow_build = false;
#else
constexpr bool slow_build = true;
#endif

/// Increase it when keys or candidates change their meaning, or our own kernels their speed: the candidates are then
/// measured again.
constexpr int revision = 4;

/// FNV-1a; distinguishes the file names of different machines.
std::uint32_t hash(std::string_view text) {
  std::uint32_t value = 2166136261U;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 16777619U;
  return value;
}

/// Returns no entries if there is no file. @throws Error when the file cannot be used.
Entries read(const std::filesystem::path& file, const std::string& machine) {
  std::error_code ignored;
  if (std::filesystem::status(file, ignored).type() == std::filesystem::file_type::not_found) return {};
  const std::string text = read_text(file);
  try {
    const auto json = nlohmann::json::parse(text);
    if (json.at("machine") != machine)
      throw Error(fmt::format("{}: it was made on another machine", file.string()), ErrorCode::invalid_data);
    return json.at("choices").get<Entries>();
  } catch (const nlohmann::json::exception&) {
    throw Error(fmt::format("{}: it is damaged", file.string()), ErrorCode::invalid_data);
  }
}

}  // namespace

TuningCache::TuningCache(const std::filesystem::path& folder)
    : machine_(fmt::format("{}, {} ({:#x}), {} on {}, {}revision {}", cpu_model(), onednn::effective_cpu_isa(),
                           onednn::cpu_isa_bits(), onednn::version(), onednn::threading(),
                           slow_build ? "slow build, " : "", revision)) {
  if (!folder.empty()) file_ = folder / fmt::format("tuning-{:08x}.json", hash(machine_));
}

std::string TuningCache::read_into(TuningRecord& record) const {
  if (file_.empty()) return {};
  try {
    for (const auto& [key, candidate] : read(file_, machine_)) {
      if (record.find(key).empty()) record.record(key, candidate);
    }
  } catch (const Error& error) {
    return fmt::format("{}; ignored", error.what());
  }
  return {};
}

std::string TuningCache::add(const TuningRecord& record) const {
  if (file_.empty() || record.measured().empty()) return {};
  Entries entries;
  try {
    entries = read(file_, machine_);
  } catch (const Error&) {
    entries.clear();  // what can't be used is replaced
  }
  for (const std::string& key : record.measured()) entries[key] = record.find(key);
  try {
    std::error_code error;
    std::filesystem::create_directories(file_.parent_path(), error);
    if (error)
      throw Error(fmt::format("cannot make {}: {}", file_.parent_path().string(), error.message()), ErrorCode::io);
    const std::filesystem::file_status found = std::filesystem::status(file_, error);
    if (std::filesystem::exists(found) && !std::filesystem::is_regular_file(found)) {
      throw Error(fmt::format("{}: is not a regular file", file_.string()), ErrorCode::io);
    }
    AtomicFile out(file_);
    out.write(nlohmann::json{{"machine", machine_}, {"choices", entries}}.dump(1) + "\n");
    out.commit();
  } catch (const std::exception& error) {
    return fmt::format("what tuning measured cannot be kept: {}", error.what());
  }
  return {};
}

}  // namespace facet::program
