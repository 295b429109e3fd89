#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "facet/data.h"
#include "facet/model_file.h"
#include "facet/train.h"

namespace facet::train {

/// @throws Error naming the first option whose value can't be meant, the value and those allowed.
void check_options(const TrainOptions& options);

struct ThreadPlan {
  int compute = 1;
  int loader = 0;  ///< 0: as many as are needed
};

/// As asked for; otherwise as many loader threads as are needed, and for compute OMP_NUM_THREADS, or all cores that the
/// process may use: decoding is cheap against a step. From 16 cores on the loader gets a core of its own, since a step
/// waits for its slowest thread.
ThreadPlan plan_threads(const TrainOptions& options);

/// The same for equal heads, classes, names and labels in the same order, on any machine. Images aren't read.
std::string fingerprint(const Dataset& data);

/// The options that decide a run's bits, by the names that a user knows, which a resumed run can't change; with a
/// number for the training set's heads, classes, names and labels in their order. Threads do so too, but a run may move
/// to another machine; they aren't among them.
nlohmann::ordered_json fixed_options(const TrainOptions& options, Precision precision, const Dataset& train);

/// Holds what is asked for against what a run was started with. An option that the record lacks, since an earlier
/// build wrote it, counts as recorded with its default.
/// @param file names the run in messages.
/// @throws Error naming the first option that differs, and both values.
void require_same_options(const std::string& file, const nlohmann::ordered_json& recorded,
                          const nlohmann::ordered_json& asked);
void require_same_model(const std::string& file, const ModelInfo& recorded, const ModelInfo& asked);

}  // namespace facet::train
