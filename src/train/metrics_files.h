#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "facet/train.h"

namespace facet::train {

/// A run's metrics.csv and metrics.jsonl: one line an epoch. Each change replaces a file whole, so that a kill leaves
/// no torn line.
class MetricsFiles {
 public:
  MetricsFiles(const std::filesystem::path& folder, const std::vector<Head>& heads);

  bool exist() const;
  /// Leaves the lines of the epochs before `epoch`, so that a resumed run writes none twice.
  /// @throws Error naming the file that can't be read or written.
  void cut(std::int64_t epoch) const;
  /// Adds an epoch, in place of lines of its own and later epochs. @throws Error likewise.
  void add(const EpochResult& result) const;

 private:
  std::string csv_lines_before(std::int64_t epoch) const;

  std::filesystem::path csv_;
  std::filesystem::path jsonl_;
  std::string csv_header_;
  std::size_t heads_;
};

/// What metrics.jsonl says of an epoch.
struct EpochMetrics {
  std::int64_t epoch = 0;
  std::map<std::string, std::optional<double>> validation_accuracy;  ///< by head; nothing where it has no label
  double images_per_s = 0;
  double seconds = 0;
  std::int64_t peak_resident_bytes = 0;
};

/// The epochs of a run's metrics.jsonl, in their order; none where there is no such file.
/// @throws Error naming the file, the line and what is wrong with it.
std::vector<EpochMetrics> read_metrics(const std::filesystem::path& folder);

/// One line of metrics.csv; cells of validation are empty without a validation set, a head's also without a label in
/// it.
std::string csv_line(const EpochResult& result, std::size_t heads);
/// One line of metrics.jsonl; the keys of validation are absent without a validation set, and a head
/// without a label in it has null.
std::string json_line(const EpochResult& result);

}  // namespace facet::train
