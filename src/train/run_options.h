#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "facet/dataset.h"
#include "facet/model_file.h"
#include "facet/training.h"

namespace facet::train {

using facet::check_options;

struct ThreadPlan {
  int compute = 1;
  int loader = 0;  ///< 0: as many as keep training from waiting
};

/// The numbers of threads that the options request. Where they leave them open, the loader takes as many threads as it
/// needs, and compute takes OMP_NUM_THREADS or all cores that the process may use, since decoding is cheap compared
/// with a step. With 16 cores or more, compute leaves the loader's threads, at least one, a core each, since a step
/// waits for its slowest thread.
/// @throws Error when a number of threads is out of range.
ThreadPlan plan_threads(const TrainOptions& options);

/// A hash of a data set's heads, classes, image names and labels in their order: equal on any machine for equal data.
/// Images aren't read.
std::string fingerprint(const Dataset& data);

/// The options that decide a run's results bit for bit and that a resumed run can't change, under the names that a user
/// knows. The number of threads also decides the bits, but it isn't included, so that a run may move to another machine.
nlohmann::ordered_json recipe_options(const TrainOptions& options, Precision precision, const std::vector<Head>& heads);
/// As above, together with the number of training images and the fingerprint of the training set.
nlohmann::ordered_json fixed_options(const TrainOptions& options, Precision precision, const Dataset& train);

/// Compares the requested options with those that a run was started with. An option that the record lacks, because an
/// earlier version wrote it, counts as recorded with its default.
/// @param file names the run in messages.
/// @throws Error naming the first option that differs, and both values.
void require_same_options(const std::string& file, const nlohmann::ordered_json& recorded,
                          const nlohmann::ordered_json& asked);
/// Compares the requested model, heads and preprocessing with those of a run. @throws Error like
/// require_same_options().
void require_same_model(const std::string& file, const ModelInfo& recorded, const ModelInfo& asked);

}  // namespace facet::train
