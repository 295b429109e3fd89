#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "facet/dataset.h"
#include "facet/sinks.h"

namespace facet::train {

/// How epochs and steps are written as lines, which have no line break at their end, and profiles as files.
struct LineFormat {
  std::string_view suffix;  ///< of the files' names, such as ".csv"
  /// The first line of a file; empty where the format has none. Its columns are those of the lines.
  /// @param sized the lines have EpochResult::size.
  std::string (*epoch_header)(const std::vector<Head>& heads, bool sized);
  std::string (*step_header)(const std::vector<Head>& heads);
  std::string (*epoch_line)(const EpochResult& result, const std::vector<Head>& heads);
  std::string (*step_line)(const StepResult& result, const std::vector<Head>& heads);
  /// The epoch of a line; nothing for a header or an incomplete line.
  std::optional<std::int64_t> (*epoch_of)(const std::string& line);
  /// The step of a line that is known to be whole; nothing for a header.
  std::optional<std::int64_t> (*step_of)(const std::string& line);
  /// A line that an earlier version wrote, which had fewer columns, in the form of this one.
  std::string (*updated)(std::string line, const std::vector<Head>& heads);
  /// The text of a profile's file; null where the format has none.
  std::string (*profile)(const StepProfile& profile);
};

/// Cells of values that are NaN or absent are empty.
const LineFormat& csv_lines();
/// Values that are NaN are null; the keys of validation are absent without a validation set.
const LineFormat& json_lines();

}  // namespace facet::train
