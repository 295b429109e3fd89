#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "facet/data.h"
#include "facet/inference.h"
#include "facet/model_file.h"
#include "facet/models.h"
#include "options.h"

namespace facet::app {

// Options that several commands have, as declared and as read.

Option root_option();
/// --file-column and --label-column of a manifest.
std::vector<Option> column_options();
/// @throws UsageError when --heads, whose value `manifest` has, and --label-column differ.
void read_columns(const Options& options, ManifestOptions& manifest);

Option bad_images_option(const std::string& consequence);
Option precision_option(const std::string& fallback);

Option save_memory_option();

/// --choice-cache, and the folder that it names: empty for none.
Option choice_cache_option();
std::filesystem::path read_choice_cache(const Options& options);

/// "waited for images in 0.3 % of 12 s, with 2 decoding threads"
std::string waiting_text(const EvaluationTime& time);

/// --checkpoint, --batch, --precision, --threads, --loader-threads, --pin, --tune, --choice-cache.
OptionGroup inference_options();
InferenceOptions read_inference_options(const Options& options);

/// Whether --bad-images is skip, not fail.
bool skips_bad_images(const Options& options);

/// Compute and loader threads: 0 or more.
int read_threads(const Options& options, const std::string& name);

/// --pin; where it is on, so many compute threads are pinned, for which the program may be started anew: nothing may
/// have been printed yet.
Option pin_option();
void pin_if_asked(const Options& options, int threads);

/// --mean and --std.
std::vector<Option> normalization_options();
Normalization read_normalization(const Options& options);

/// --split-head, and the heads that it names; none where it isn't given.
Option split_head_option(const std::string& what);
HeadSplit read_split_head(const Options& options);

/// --model, --size and --resize.
Option model_option();
Option size_option();
Option resize_option();
ResizeMode read_resize(const Options& options);
/// A model by --model, at --size, whose heads and shape are known to be good; a size that it can't have is a
/// UsageError.
Graph build_asked_model(const Options& options, const ModelOptions& model, const std::string& shape);

/// --freeze, and what it names in a model, frozen; a pattern that names nothing is a UsageError.
Option freeze_option();
void freeze_asked(const Options& options, Graph& graph);
/// ", 21,284,672 of them frozen"; empty where nothing is.
std::string frozen_text(const Graph& graph);

/// `value` parsed by the library, whose Error becomes a UsageError that names the option.
PrecisionChoice read_precision(const Options& options);

}  // namespace facet::app
