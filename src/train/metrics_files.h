#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "facet/training.h"

namespace facet::train {

/// A run's metrics.csv and metrics.jsonl, with one line for each epoch. Each change replaces a whole file, so that a
/// kill leaves no partial line.
class MetricsFiles {
 public:
  MetricsFiles(const std::filesystem::path& folder, const std::vector<Head>& heads);

  bool exist() const;
  /// Removes the lines of `epoch` and later epochs, so that a resumed run writes no epoch twice.
  /// @throws Error naming the file that can't be read or written.
  void cut(std::int64_t epoch) const;
  /// Adds an epoch's line and removes earlier lines of the same and later epochs. @throws Error like cut().
  void add(const EpochResult& result) const;

 private:
  std::string csv_lines_before(std::int64_t epoch) const;

  std::filesystem::path csv_;
  std::filesystem::path jsonl_;
  std::string csv_header_;
  std::size_t heads_;
};

/// The entries of metrics.jsonl for one epoch that facet reads back.
struct EpochMetrics {
  std::int64_t epoch = 0;
  std::map<std::string, std::optional<double>> validation_accuracy;  ///< by head; nothing for a head without labels
  double images_per_s = 0;
  double seconds = 0;
  std::int64_t peak_resident_bytes = 0;
};

/// The epochs of a run's metrics.jsonl, in the file's order; empty where there is no such file.
/// @throws Error naming the file, the line and what is wrong with it.
std::vector<EpochMetrics> read_metrics(const std::filesystem::path& folder);

/// One line of metrics.csv. The validation cells are empty without a validation set, and a head's cell is empty where
/// the validation set has no label of the head.
std::string csv_line(const EpochResult& result, std::size_t heads);
/// One line of metrics.jsonl. The validation keys are absent without a validation set, and a head's value is null where
/// the validation set has no label of the head.
std::string json_line(const EpochResult& result);

}  // namespace facet::train
