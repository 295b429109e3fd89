#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "comm/communicator.h"
#include "facet/dataset.h"
#include "facet/model_file.h"
#include "facet/training.h"

namespace facet::train {

/// A hash of a data set's heads, classes, image names and labels in their order: equal on any machine for equal data.
/// Images aren't read.
std::string fingerprint(const Dataset& data);

/// The number of images in an epoch over a training set.
std::int64_t epoch_images(const TrainOptions& options, const Dataset& train);

/// The options that decide a run's results bit for bit and that a resumed run can't change, under the names that a user
/// knows. The number of threads also decides the bits, but it isn't included, so that a run may move to another
/// machine.
nlohmann::ordered_json recipe_options(const TrainOptions& options, Precision precision, const std::vector<Head>& heads);
/// As above, together with the number of training images and the fingerprint of the training set.
nlohmann::ordered_json fixed_options(const TrainOptions& options, Precision precision, const Dataset& train);

/// Compares the requested options with those that a run was started with. An option that the record lacks, because an
/// earlier version wrote it, counts as recorded with its default.
/// @param file names the run in messages.
/// @throws Error naming the first option that differs, and both values.
void require_same_options(const std::string& file, const nlohmann::ordered_json& recorded,
                          const nlohmann::ordered_json& asked);
/// Compares options of all processes. @throws Error naming the first that a process has otherwise than rank 0, and both
/// values.
void require_same_in_all(comm::Communicator& group, const nlohmann::ordered_json& options);
/// Compares the requested model, heads and preprocessing with those of a run. @throws Error like
/// require_same_options().
void require_same_model(const std::string& file, const ModelInfo& recorded, const ModelInfo& asked);

}  // namespace facet::train
