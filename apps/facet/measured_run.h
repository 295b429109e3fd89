#pragma once

#include <filesystem>
#include <vector>

#include "facet/data.h"
#include "table1.h"
#include "train/run_folder.h"

namespace facet::app {

/// What a run's folder says of its whole epochs; `parameters` and `failure` stay empty.
/// @param record of the folder's last checkpoint.
/// @param heads the run's, in their order.
/// @throws Error naming the file that can't be read, or doesn't fit the checkpoint.
MeasuredRow measured_run(const std::filesystem::path& folder, const train::RunRecord& record,
                         const std::vector<Head>& heads);

}  // namespace facet::app
