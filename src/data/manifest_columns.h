#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "data/csv.h"
#include "facet/data.h"

namespace facet::data {

/// A head, and the column with its labels.
struct HeadColumn {
  std::string head;
  std::string column;
  std::optional<std::size_t> position;  ///< among the fields of a row; none: a head of a model without a column
};

/// Which columns of a manifest are read.
struct ManifestColumns {
  std::size_t count = 0;  ///< fields of a row
  std::size_t file = 0;   ///< position of the image's file
  std::string file_column;
  std::vector<HeadColumn> heads;   ///< in the order of the logits
  bool heads_are_chosen = false;   ///< named by the caller, not all that there are
  std::vector<std::string> notes;  ///< what a user should know of it, a line each
};

/// Reads the header of a manifest.
/// @param csv what messages call the file.
/// @throws Error naming file, line and columns when there is no header, or it hasn't the columns that are needed.
ManifestColumns read_columns(const std::string& csv, CsvReader& reader, const ManifestOptions& options);

/// @throws Error naming file, head and classes unless the declared classes are those of heads, and can be classes.
void require_declared_classes(const std::string& csv, const std::vector<HeadColumn>& heads,
                              const ManifestOptions& options);

/// Whether the declared classes stand for FairFace's set.
bool is_fairface(const std::vector<std::string>& declared);

}  // namespace facet::data
