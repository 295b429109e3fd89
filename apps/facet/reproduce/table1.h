#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "facet/dataset.h"
#include "facet/run_folder.h"

namespace facet::app {

/// A row of Table 1 of Khasanova and Sin, as printed in the paper.
struct PrintedRow {
  std::string model;                       ///< facet's name of the model
  std::string name;                        ///< the paper's name; empty for the paper's own model
  double parameters;                       ///< millions
  std::map<std::string, double> accuracy;  ///< by head, shares
};

/// The models of Table 1, in the paper's order.
const std::vector<PrintedRow>& printed_table1();
/// facet's names of these models.
std::vector<std::string> table1_models();

/// The results of training a model with facet.
struct MeasuredRow {
  std::optional<std::int64_t> parameters;
  std::int64_t epochs = 0;  ///< number of epochs trained so far
  std::string failure;      ///< why the last attempt failed; empty: it didn't fail
  // The following are over the epochs so far.
  std::int64_t best_epoch = 0;                            ///< epoch of the highest validation accuracy, mean over heads
  std::map<std::string, std::optional<double>> accuracy;  ///< by head, shares, after the best epoch
  double images_per_s = 0;                                ///< training rate, the median over epochs
  double seconds = 0;                                     ///< total time of training and validation
  std::int64_t peak_resident_bytes = 0;                   ///< the maximum over epochs
  std::string precision;
  bool save_memory = false;
};

/// Reads the results of a run's whole epochs from its folder; `parameters` and `failure` stay empty.
/// @param run how far the run is.
/// @throws Error naming the file that can't be read or doesn't match the checkpoint.
MeasuredRow measured_run(const std::filesystem::path& folder, const RunStatus& run);

struct Table1 {
  std::string train, validation;  ///< manifests
  std::vector<std::string> heads;
  std::int64_t epochs = 0;  ///< requested number of epochs
  std::int64_t batch = 0;
  ImageSize size = 224;
  std::string resize;  ///< "squash" or "crop"
  std::uint64_t seed = 0;
  std::vector<MeasuredRow> rows;  ///< one for each of printed_table1()
};

/// The table in Markdown, with an explanation of its columns below it.
std::string markdown(const Table1& table);
/// The table as CSV with one line for each model; cells of unknown values are empty.
std::string csv(const Table1& table);
/// The table as a JSON object; unknown values are null.
std::string json(const Table1& table);

}  // namespace facet::app
