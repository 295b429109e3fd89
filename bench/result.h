#pragma once

#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "program/choices.h"
#include "workload.h"

/// The JSON of the bench executables: README.md beside this file says what its members mean.
namespace facet::bench {

/// A JSON file that is made now, so that a place that can't be written shows before anything is measured. "-" is
/// standard output: what is printed from then on goes to standard error.
class JsonFile {
 public:
  explicit JsonFile(const std::string& path) {
    if (path.empty()) return;
    file_.emplace(path == "-" ? "/proc/self/fd/1" : path);
    if (path != "-") return;
    std::fflush(stdout);
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
  }
  bool asked() const { return file_.has_value(); }
  void write(const nlohmann::json& json) {
    if (!file_) return;
    file_->write(json.dump(1) + "\n");
    file_->commit();
  }
  /// One a line.
  void write_lines(const std::vector<nlohmann::json>& objects) {
    if (!file_) return;
    for (const nlohmann::json& object : objects) file_->write(object.dump() + "\n");
    file_->commit();
  }

 private:
  std::optional<base::AtomicFile> file_;
};

/// Median, min, max, and the spread: (max - min) / median.
nlohmann::json spread(const std::vector<double>& values);

/// What all results begin with: the workload, the machine, the versions, the choices that were made.
nlohmann::json result_json(const std::string& bench, const Workload& workload, const program::Choices& choices);
/// "reference training bf16 batch 64 at 224x224, 2 threads, CPU (oneDNN 2.6.3)"
std::string title(const Workload& workload);

}  // namespace facet::bench
