#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace facet::app {

/// A row of Table 1 of Khasanova and Sin, as printed.
struct PrintedRow {
  std::string model;                       ///< facet's name
  std::string name;                        ///< the paper's; empty: of the model that the paper is about
  double parameters;                       ///< millions
  std::map<std::string, double> accuracy;  ///< by head, shares
};

/// The models of Table 1, in the paper's order.
const std::vector<PrintedRow>& printed_table1();
/// Their names here.
std::vector<std::string> table1_models();

/// What a model came to here.
struct MeasuredRow {
  std::optional<std::int64_t> parameters;
  std::int64_t epochs = 0;  ///< trained so far
  std::string failure;      ///< why the last attempt ended; empty: it didn't fail
  // Of the epochs so far:
  std::int64_t best_epoch = 0;                            ///< of the highest mean validation accuracy over the heads
  std::map<std::string, std::optional<double>> accuracy;  ///< by head, shares, after the best epoch
  double images_per_s = 0;                                ///< of training, the median over epochs
  double seconds = 0;                                     ///< of training and validation, in sum
  std::int64_t peak_resident_bytes = 0;                   ///< the highest of all epochs
  std::string precision;
  bool save_memory = false;
};

struct Table1 {
  std::string train, validation;  ///< manifests
  std::vector<std::string> heads;
  std::int64_t epochs = 0;  ///< asked for
  std::int64_t batch = 0;
  int size = 0;
  std::string resize;  ///< "squash" or "crop"
  std::uint64_t seed = 0;
  std::vector<MeasuredRow> rows;  ///< one for each of printed_table1()
};

/// The table, and below it what its columns mean.
std::string markdown(const Table1& table);
/// One line a model; cells of what isn't known are empty.
std::string csv(const Table1& table);
/// An object; what isn't known is null.
std::string json(const Table1& table);

}  // namespace facet::app
