#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "facet/dataset.h"
#include "facet/export.h"
#include "facet/model_file.h"
#include "facet/tensor_types.h"
#include "facet/training.h"

// What the folder of a run (TrainOptions::out) holds. These functions change nothing and take no lock; a Trainer may be
// at work in the folder, since it replaces whole files only.

namespace facet {

/// Returns the path of a run's last checkpoint, from which it can be resumed; nothing needs to exist there.
FACET_EXPORT std::filesystem::path last_checkpoint(const std::filesystem::path& run);
/// Returns the path of a run's best checkpoint; nothing needs to exist there.
FACET_EXPORT std::filesystem::path best_checkpoint(const std::filesystem::path& run);

/// Returns whether a folder holds a run: a checkpoint to resume from, or metrics that a new run would overwrite.
/// @throws Error naming the file when the system can't determine whether it exists.
FACET_EXPORT bool holds_run(const std::filesystem::path& folder);

/// Returns the model file that is a run's result: its best checkpoint, or where there is none (a run without a
/// validation set) the average that goes with the last checkpoint, or the last checkpoint.
/// @throws Error naming the folder when it has neither checkpoint, or the file that can't be read.
FACET_EXPORT std::filesystem::path run_result(const std::filesystem::path& run);

/// How far a run is, by its last checkpoint.
struct RunStatus {
  ModelInfo info = {};
  Precision precision = Precision::f32;
  std::int64_t epochs = 0;  ///< finished epochs
};

/// Reads how far a run is; nothing where the folder has no last checkpoint.
/// @throws Error naming the file when it can't be read, holds no run or is damaged.
FACET_EXPORT std::optional<RunStatus> read_run_status(const std::filesystem::path& run);

/// Checks that a Trainer for this model and training set, with these options and `resume`, would go on with the run in
/// a folder. With PrecisionChoice::automatic the run's precision is taken. The values of options are not checked (see
/// check_options).
/// @throws Error naming the run's last checkpoint when it can't be read, or the first part of the model or option that
///   differs from the run's and that a resumed run can't change, with both values.
FACET_EXPORT void require_same_run(const std::filesystem::path& run, const ModelInfo& info, const TrainOptions& options,
                                   const Dataset& train);

}  // namespace facet
