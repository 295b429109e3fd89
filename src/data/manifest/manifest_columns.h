#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "data/manifest/csv.h"
#include "facet/manifest.h"

namespace facet::data {

/// A head and the column that holds its labels.
struct HeadColumn {
  std::string head;
  std::string column;
  std::optional<std::size_t> position;  ///< index of the field in a row; empty: the model's head has no column
};

/// Which columns of a manifest are read.
struct ManifestColumns {
  std::size_t count = 0;  ///< number of fields of a row
  std::size_t file = 0;   ///< index of the field that names the image's file
  std::string file_column;
  std::vector<HeadColumn> heads;           ///< in the order of the logits
  std::optional<std::size_t> weight = {};  ///< index of the field that holds the image's weight; empty: none does
  bool heads_are_chosen = false;           ///< the caller named the heads, instead of taking all columns
  std::vector<std::string> notes;          ///< notes for the user, one line each
};

/// Reads the header of a manifest.
/// @param csv what messages call the file.
/// @param extra_columns columns that are heads only if they are requested.
/// @throws Error naming file, line and columns when the header is missing or lacks a required column.
ManifestColumns read_columns(const std::string& csv, CsvReader& reader, const ManifestOptions& options,
                             const std::vector<std::string>& extra_columns);

}  // namespace facet::data
