#pragma once

#include <filesystem>

#include "facet/sinks.h"

namespace facet::train {

/// Whether a folder holds the lines of a run's epochs, those of csv_sink() or of json_sink().
/// @throws Error naming the file that can't be accessed.
bool holds_metrics(const std::filesystem::path& folder);

}  // namespace facet::train
