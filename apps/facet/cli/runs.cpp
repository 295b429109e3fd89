#include "cli/runs.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <fstream>
#include <new>
#include <system_error>

#include "cli/options.h"
#include "cli/paths.h"
#include "facet/error.h"
#include "facet/files.h"
#include "facet/model_file.h"
#include "facet/run_folder.h"
#include "facet/text.h"

namespace facet::app {
namespace fs = std::filesystem;
namespace {

fs::path checkpoint_of_run(const fs::path& run, const std::string& name) {
  const fs::path folder = last_checkpoint(run).parent_path();
  for (const fs::path& file : {fs::path(name), folder / name, folder / (name + ".safetensors")}) {
    if (is_file(file)) return file;
  }
  throw Error(fmt::format("there is no checkpoint '{}', neither as a file nor in {}", name, folder.string()));
}

fs::path failure_file(const fs::path& run) { return run / "error.txt"; }

}  // namespace

fs::path new_run_folder() {
  const std::string name = fmt::format("{:%Y-%m-%d_%H-%M-%S}", fmt::localtime(std::time(nullptr)));
  fs::path folder = fs::path("runs") / name;
  for (int number = 2; fs::exists(status_of(folder)); ++number)
    folder = fs::path("runs") / fmt::format("{}_{}", name, number);
  return folder;
}

void make_run_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw Error(fmt::format("the run's folder {} can't be created: {}", folder.string(), error.message()),
                ErrorCode::io);
}

fs::path find_model(const fs::path& run_or_model, const std::string& checkpoint) {
  if (!fs::exists(status_of(run_or_model))) {
    throw Error(fmt::format("{} doesn't exist; a run's folder or a model file is needed", run_or_model.string()));
  }
  if (!fs::is_directory(status_of(run_or_model))) {
    if (!checkpoint.empty()) {
      throw UsageError(fmt::format("--checkpoint needs a run's folder; {} is a file", run_or_model.string()));
    }
    return run_or_model;
  }
  if (!checkpoint.empty()) return checkpoint_of_run(run_or_model, checkpoint);
  return run_result(run_or_model);
}

std::vector<Head> begun_heads(const fs::path& run) {
  const fs::path last = last_checkpoint(run);
  return fs::exists(status_of(last)) ? read_model_info(last).heads : std::vector<Head>();
}

void record_failure(const fs::path& run, const std::exception& error) {
  try {
    const FolderLock lock(run);
    const bool no_memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
    const fs::path file = failure_file(run);
    std::error_code ignored;
    if (fs::exists(file, ignored) && !fs::is_regular_file(file, ignored)) return;  // opening a FIFO would block
    std::ofstream(file) << (no_memory ? "out of memory" : printable(error.what())) << '\n';
  } catch (const Error&) {
    // Another run uses the folder, or it can't be written: the failure is only reported on standard error.
  }
}

void forget_failure(const fs::path& run) {
  std::error_code ignored;
  fs::remove(failure_file(run), ignored);
}

std::string read_failure(const fs::path& run) {
  if (!is_file(failure_file(run))) return "";
  std::ifstream stream(failure_file(run));
  std::string reason;
  std::getline(stream, reason);
  return reason;
}

std::string shell_word(const std::string& path) {
  const std::string word = path.starts_with('-') ? "./" + path : path;
  constexpr const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=,:+@%";
  if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + '\'';
}

}  // namespace facet::app
