#include "program/choice_cache.h"

#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/atomic_file.h"
#include "base/machine.h"
#include "data/read_file.h"
#include "facet/error.h"
#include "onednn/onednn.h"

namespace facet::program {

namespace {

using Entries = std::map<std::string, std::string>;

/// Whether our own kernels are slower than they ship: what such a build measures is for itself.
#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
constexpr bool slow_build = false;
#else
constexpr bool slow_build = true;
#endif

/// Grows when keys or candidates change their meaning, or kernels of ours their speed: what was timed before is timed
/// anew.
constexpr int revision = 3;

/// FNV-1a: tells the machines' files apart by name.
std::uint32_t hash(std::string_view text) {
  std::uint32_t value = 2166136261U;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 16777619U;
  return value;
}

/// Nothing where there is no file. @throws Error when there is one that can't be used.
Entries read(const std::filesystem::path& file, const std::string& machine) {
  std::error_code ignored;
  if (std::filesystem::status(file, ignored).type() == std::filesystem::file_type::not_found) return {};
  const std::string text = data::read_text(file);
  try {
    const auto json = nlohmann::json::parse(text);
    if (json.at("machine") != machine) throw Error(fmt::format("{}: it was made on another machine", file.string()));
    return json.at("choices").get<Entries>();
  } catch (const nlohmann::json::exception&) {
    throw Error(fmt::format("{}: it is damaged", file.string()));
  }
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

}  // namespace

std::filesystem::path ChoiceCache::user_folder() {
  // The standard of these folders has paths that aren't absolute ignored.
  const std::filesystem::path cache = environment("XDG_CACHE_HOME");
  if (cache.is_absolute()) return cache / "facet";
  const std::filesystem::path home = environment("HOME");
  return home.is_absolute() ? home / ".cache" / "facet" : std::filesystem::path();
}

ChoiceCache::ChoiceCache(const std::filesystem::path& folder)
    : machine_(fmt::format("{}, {} ({:#x}), {} on {}, {}revision {}", base::cpu_model(), onednn::instructions(),
                           onednn::instruction_bits(), onednn::version(), onednn::threading(),
                           slow_build ? "slow build, " : "", revision)) {
  if (!folder.empty()) file_ = folder / fmt::format("choices-{:08x}.json", hash(machine_));
}

std::string ChoiceCache::read_into(Choices& choices) const {
  if (file_.empty()) return {};
  try {
    for (const auto& [key, candidate] : read(file_, machine_)) {
      if (choices.find(key).empty()) choices.record(key, candidate);
    }
  } catch (const Error& error) {
    return fmt::format("{}; ignored", error.what());
  }
  return {};
}

std::string ChoiceCache::add(const Choices& choices) const {
  if (file_.empty() || choices.measured().empty()) return {};
  Entries entries;
  try {
    entries = read(file_, machine_);
  } catch (const Error&) {
    entries.clear();  // what can't be used is replaced
  }
  for (const std::string& key : choices.measured()) entries[key] = choices.find(key);
  try {
    std::error_code error;
    std::filesystem::create_directories(file_.parent_path(), error);
    if (error) throw Error(fmt::format("cannot make {}: {}", file_.parent_path().string(), error.message()));
    const std::filesystem::file_status found = std::filesystem::status(file_, error);
    if (std::filesystem::exists(found) && !std::filesystem::is_regular_file(found)) {
      throw Error(fmt::format("{}: is not a regular file", file_.string()));
    }
    base::AtomicFile out(file_);
    out.write(nlohmann::json{{"machine", machine_}, {"choices", entries}}.dump(1) + "\n");
    out.commit();
  } catch (const std::exception& error) {
    return fmt::format("the choices that were measured could not be kept: {}", error.what());
  }
  return {};
}

}  // namespace facet::program
