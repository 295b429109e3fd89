#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "facet/platform.h"
#include "onednn/onednn.h"
#include "program/tuning_record.h"
#include "testing.h"

namespace facet::testing {
namespace {

using program::TuningCache;
using program::TuningRecord;

TuningRecord measured(const std::map<std::string, std::string>& entries) {
  TuningRecord tuning_record(true);
  for (const auto& [key, candidate] : entries) tuning_record.record_measured(key, candidate);
  return tuning_record;
}

/// Sets an environment variable, and restores its earlier value at the end of the scope.
class EnvironmentVariable {
 public:
  EnvironmentVariable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    set(value);
  }
  ~EnvironmentVariable() { set(before_.empty() ? nullptr : before_.c_str()); }
  EnvironmentVariable(const EnvironmentVariable&) = delete;
  EnvironmentVariable& operator=(const EnvironmentVariable&) = delete;

 private:
  void set(const char* value) {
    if (value == nullptr) {
      ::unsetenv(name_);
    } else {
      ::setenv(name_, value, 1);
    }
  }
  const char* name_;
  std::string before_;
};

}  // namespace

TEST_CASE("tuning cache: measured entries are read by other instances and don't replace recorded ones") {
  const TemporaryFolder folder;
  const std::filesystem::path inside = folder / "a/b";
  CHECK(TuningCache(inside).add(measured({{"x", "direct"}, {"y", "winograd f32"}})) == "");
  CHECK(TuningCache(inside).add(measured({{"z", "direct"}})) == "");
  TuningRecord tuning_record(true);
  tuning_record.record("x", "as recorded");
  CHECK(TuningCache(inside).read_into(tuning_record) == "");
  CHECK(tuning_record.all() ==
        std::map<std::string, std::string>{{"x", "as recorded"}, {"y", "winograd f32"}, {"z", "direct"}});
}

TEST_CASE("tuning cache: only measured entries are added") {
  const TemporaryFolder folder;
  const TuningCache cache(folder.path());
  TuningRecord tuning_record = measured({{"x", "direct"}});
  tuning_record.record("y", "a default");
  CHECK(cache.add(tuning_record) == "");
  TuningRecord found(true);
  cache.read_into(found);
  CHECK(found.all() == std::map<std::string, std::string>{{"x", "direct"}});
  TuningRecord untuned(false);
  untuned.record("y", "a default");
  const TemporaryFolder other;
  CHECK(TuningCache(other.path()).add(untuned) == "");
  CHECK(!std::filesystem::exists(TuningCache(other.path()).file()));
}

TEST_CASE("tuning cache: a damaged or foreign file is ignored with one line, and replaced") {
  const TemporaryFolder folder;
  const TuningCache cache(folder.path());
  for (const std::string text :
       {"", "{", "[]", "{\"machine\": 3}", "{\"machine\": \"another\", \"choices\": {\"x\": \"y\"}}"}) {
    CAPTURE(text);
    write_file(cache.file(), text);
    TuningRecord tuning_record(true);
    const std::string note = cache.read_into(tuning_record);
    CHECK(note.find(cache.file().string()) == 0);
    CHECK(note.find('\n') == std::string::npos);
    CHECK(tuning_record.all().empty());
  }
  CHECK(cache.add(measured({{"x", "direct"}})) == "");
  TuningRecord tuning_record(true);
  CHECK(cache.read_into(tuning_record) == "");
  CHECK(tuning_record.find("x") == "direct");
}

TEST_CASE("tuning cache: a FIFO or a folder in place of the file is ignored and stays, each with one line") {
  const TemporaryFolder folder;
  const TuningCache cache(folder.path());
  const auto ignores = [&](const char* reason) {
    TuningRecord tuning_record(true);
    CHECK(cache.read_into(tuning_record) == cache.file().string() + ": " + reason + "; ignored");
    CHECK(tuning_record.all().empty());
    CHECK(cache.add(measured({{"x", "direct"}})) ==
          "what tuning measured cannot be kept: " + cache.file().string() + ": is not a regular file");
  };
  REQUIRE(::mkfifo(cache.file().c_str(), 0600) == 0);
  ignores("is not a regular file");
  std::filesystem::remove(cache.file());
  std::filesystem::create_directory(cache.file());
  ignores("is a folder, not a file");
}

TEST_CASE("tuning cache: a folder that can't be written is reported in one line") {
  const TemporaryFolder folder;
  write_file(folder / "file", "");
  CHECK(TuningCache(folder / "file").add(measured({{"x", "direct"}})).find("cannot be kept") != std::string::npos);
}

TEST_CASE("tuning cache: without a folder nothing is kept") {
  const TuningCache cache({});
  CHECK(cache.file().empty());
  CHECK(cache.add(measured({{"x", "direct"}})) == "");
  TuningRecord tuning_record(true);
  CHECK(cache.read_into(tuning_record) == "");
  CHECK(tuning_record.all().empty());
}

TEST_CASE("tuning cache: the user's folder follows the XDG Base Directory Specification") {
  const EnvironmentVariable home("HOME", "/home/someone");
  {
    const EnvironmentVariable cache("XDG_CACHE_HOME", "/cache");
    CHECK(user_cache_folder() == "/cache/facet");
  }
  {
    const EnvironmentVariable cache("XDG_CACHE_HOME", "relative");
    CHECK(user_cache_folder() == "/home/someone/.cache/facet");
  }
  const EnvironmentVariable cache("XDG_CACHE_HOME", nullptr);
  CHECK(user_cache_folder() == "/home/someone/.cache/facet");
  const EnvironmentVariable none("HOME", nullptr);
  CHECK(user_cache_folder().empty());
}

TEST_CASE("tuning cache: entries are kept per CPU ISA, oneDNN version and threading runtime") {
  const TemporaryFolder folder;
  const TuningCache cache(folder.path());
  CHECK(cache.add(measured({{"x", "direct"}})) == "");
  std::ifstream in(cache.file());
  const std::string machine = nlohmann::json::parse(in).at("machine");
  CAPTURE(machine);
  CHECK(machine.find(fmt::format("({:#x})", onednn::cpu_isa_bits())) != std::string::npos);
  CHECK(machine.find(fmt::format("{} on {},", onednn::version(), onednn::threading())) != std::string::npos);
}

}  // namespace facet::testing
