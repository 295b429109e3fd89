#include "cli/output_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <climits>
#include <csignal>
#include <map>
#include <string>
#include <system_error>

#include "facet/error.h"
#include "facet/files.h"

namespace facet::app {

namespace fs = std::filesystem;

fs::path output_path(const std::string& name) { return name == standard_output ? "/proc/self/fd/1" : name; }

OutputFile::OutputFile(const std::string& name) : name_(name) {
  if (name.empty()) return;
  std::error_code ignored;
  if (fs::is_directory(name, ignored)) throw UsageError(name + " is a folder; a file is needed");
  const SignalsHeldBack held_back;
  file_.emplace(output_path(name));
  if (!file_->temporary().empty()) removed_on_signal_.emplace(file_->temporary());
}

void OutputFile::write(const std::string& text) {
  if (file_) file_->write(text);
}

void OutputFile::commit() {
  if (file_) file_->commit();
}

void require_different_files(const Options& options, const std::vector<std::string>& names) {
  std::map<fs::path, std::string> taken;
  for (const std::string& name : names) {
    const std::string value = options.text(name);
    if (value.empty()) continue;
    const fs::path file = value == standard_output ? fs::path(value) : resolve_links(value);
    std::error_code ignored;
    if (value != standard_output && fs::exists(file, ignored) && !fs::is_regular_file(file, ignored)) continue;
    const auto [other, is_new] = taken.emplace(file, options.origin(name));
    if (is_new) continue;
    throw UsageError(fmt::format("{} and {} are the same file, {}", other->second, options.origin(name), value));
  }
}

void write_file(const fs::path& file, const std::string& text) {
  const fs::file_status status = status_of(file);
  if (fs::exists(status) && !fs::is_regular_file(status)) {  // opening a FIFO would block until it has a reader
    throw Error(fmt::format("{}: is not a regular file", file.string()));
  }
  AtomicFile output(file);
  output.write(text);
  output.commit();
}

std::string csv_line(const std::vector<std::string>& fields) {
  std::string line;
  for (const std::string& field : fields) {
    if (&field != &fields.front()) line += ',';
    if (field.find_first_of(",\"\r\n") == std::string::npos) {
      line += field;
      continue;
    }
    line += '"';
    for (const char c : field) line += c == '"' ? "\"\"" : std::string(1, c);
    line += '"';
  }
  return line + '\n';
}

namespace {

/// The name of a file for the signal handler, which can only reach static data and must not allocate.
struct Place {
  std::atomic<bool> taken = false;
  std::array<char, PATH_MAX> file{};
};
std::array<Place, 8> places;

constexpr std::array ending_signals{SIGINT, SIGTERM, SIGHUP};

void remove_and_end(int signal) {
  for (const Place& place : places) {
    if (place.taken) unlink(place.file.data());
  }
  std::signal(signal, SIG_DFL);
  raise(signal);  // it is blocked until this handler returns
}

}  // namespace

RemovedOnSignal::RemovedOnSignal(const std::filesystem::path& file) : place_(places.size()) {
  const std::string name = std::filesystem::absolute(file).string();
  const auto free = std::find_if(places.begin(), places.end(), [](const Place& place) { return !place.taken; });
  if (free == places.end() || name.size() >= free->file.size()) return;
  std::copy_n(name.c_str(), name.size() + 1, free->file.begin());
  free->taken = true;
  place_ = static_cast<std::size_t>(free - places.begin());
  for (const int signal : ending_signals) {
    struct sigaction before {};
    if (sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_DFL) std::signal(signal, remove_and_end);
  }
}

RemovedOnSignal::~RemovedOnSignal() {
  if (place_ < places.size()) places[place_].taken = false;
}

SignalsHeldBack::SignalsHeldBack() {
  sigset_t held;
  sigemptyset(&held);
  for (const int signal : ending_signals) sigaddset(&held, signal);
  pthread_sigmask(SIG_BLOCK, &held, &before_);
}

SignalsHeldBack::~SignalsHeldBack() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

}  // namespace facet::app
