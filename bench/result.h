#pragma once

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "facet/files.h"
#include "program/tuning_record.h"
#include "workload.h"

/// The JSON of the bench executables, whose members README.md in this folder describes, and how images/s scale with the
/// number of threads.
namespace facet::bench {

/// A JSON file that the constructor opens, so that an error is found before anything is measured. "-" is standard
/// output; all further printed text is then redirected to standard error.
class JsonFile {
 public:
  explicit JsonFile(const std::string& path) {
    if (path.empty()) return;
    file_.emplace(path == "-" ? "/proc/self/fd/1" : path);
    if (path != "-") return;
    std::fflush(stdout);
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
  }
  bool requested() const { return file_.has_value(); }
  void write(const nlohmann::json& json) {
    if (!file_) return;
    file_->write(json.dump(1) + "\n");
    file_->commit();
  }
  /// Writes one object per line.
  void write_lines(const std::vector<nlohmann::json>& objects) {
    if (!file_) return;
    for (const nlohmann::json& object : objects) file_->write(object.dump() + "\n");
    file_->commit();
  }

 private:
  std::optional<AtomicFile> file_;
};

/// Returns the median, min, max and spread, which is (max - min) / median.
nlohmann::json spread(const std::vector<double>& values);

/// Returns the member `size` of a result: a number for a square, otherwise "HEIGHTxWIDTH".
nlohmann::json size_json(ImageSize size);
/// Returns the members `machine` and `versions` of a result.
/// @param limit the value of --max-cpu-isa; empty without.
nlohmann::json machine_json(const std::string& limit);
nlohmann::json versions_json();
/// Returns the members that all results of a workload share: the workload, the machine, the versions and the tuning
/// record's choices.
nlohmann::json result_json(const std::string& bench, const WorkloadOptions& options, const Graph& graph, int threads,
                           const program::TuningRecord& tuning_record);
nlohmann::json result_json(const std::string& bench, const Workload& workload,
                           const program::TuningRecord& tuning_record);
/// Returns a text such as "reference training bf16 batch 64 at 224x224, 2 threads, CPU (oneDNN 2.6.3)".
std::string title(const Workload& workload);

/// A check against regressions: compares a result with an earlier one of bench_training --profile. It compares ratios
/// of values from the same run, which depend little on the machine's clock: step to floor, and FLOP/s to peak.
class Check {
 public:
  /// @throws Error naming the file and what is missing in it.
  explicit Check(const std::filesystem::path& earlier);

  /// @param result as result_json gives it, before anything is measured.
  /// @throws Error naming the difference when the two results have different workloads or kinds of machines.
  void require_comparable(const nlohmann::json& result) const;

  /// Prints a line for each ratio. @return true if no ratio is worse by more than a tenth.
  bool passes(const nlohmann::json& result) const;

 private:
  std::string file_;
  nlohmann::json earlier_;
};

/// Adds `speed_up`, the images/s divided by those of the first result, and `efficiency`, the speed-up divided by the
/// ratio of the thread counts.
void add_scaling(std::vector<nlohmann::json>& results);

/// Prints one row per result.
void print_scaling(const std::vector<nlohmann::json>& results);

}  // namespace facet::bench
