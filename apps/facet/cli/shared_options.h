#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cli/options.h"
#include "facet/inference.h"
#include "facet/manifest.h"
#include "facet/model_file.h"
#include "facet/models.h"
#include "facet/training.h"

namespace facet::app {

// Declarations of the options that several commands share, and functions that read them.

Option root_option();
/// The options --file-column and --label-column of a manifest.
std::vector<Option> column_options();
/// Reads --file-column and --label-column. @throws UsageError when `manifest` already has heads, from --heads, that
/// differ from --label-column.
void read_columns(const Options& options, ManifestOptions& manifest);

/// @param consequence the manual's text about `skip`.
Option bad_images_option(const std::string& consequence);
Option precision_option(const std::string& fallback);

/// The folder that --tuning-cache names; empty for none.
std::filesystem::path read_tuning_cache(const Options& options);

/// "waited for images in 0.3 % of 12 s, with 2 decoding threads"
std::string waiting_text(const EvaluationTime& time);

/// The options --checkpoint, --tta, --batch, --precision, --threads, --loader-threads, --pin, --tune and
/// --tuning-cache.
OptionGroup inference_options();
InferenceOptions read_inference_options(const Options& options);

/// Whether --bad-images is skip, not fail.
bool skips_bad_images(const Options& options);

/// The value of --threads or --loader-threads, 0 or more.
int read_threads(const Options& options, const std::string& name);

/// The option --pin. Where it is on, pin_if_requested() pins the compute threads. This may start the program again, so
/// nothing may have been printed before.
Option pin_option();
void pin_if_requested(const Options& options, int threads);

/// The options --mean and --std.
std::vector<Option> normalization_options();
Normalization read_normalization(const Options& options);

/// The options --model, --size and --resize.
Option model_option();
Option size_option();
ImageSize read_size(const Options& options);
/// The option --heads of commands that describe a model without data, such as age=9,gender=2,race=7.
Option class_counts_option();
/// Its heads; their classes are called 0, 1, 2, ... @throws UsageError for another form.
std::vector<Head> read_class_counts(const Options& options);
Option resize_option();
ResizeMode read_resize(const Options& options);
/// The option --ordinal, which names heads whose classes are ordered.
Option ordinal_option();
/// Makes the heads that --ordinal names ordinal, and no others. @throws UsageError naming a head that isn't among them.
void set_ordinal(const Options& options, std::vector<Head>& heads);
/// Builds the model of --model with heads and a shape that are known to be valid.
/// @throws UsageError naming --size where the model can't have that size.
Graph build_requested_model(const Options& options, const ModelOptions& model, const std::string& shape);

/// Freezes the weights that --freeze names. @throws UsageError when a pattern matches none.
void freeze_requested(const Options& options, Graph& graph);
/// ", 21,284,672 of them frozen"; empty where no weight is frozen.
std::string frozen_text(const Graph& graph);

/// The value of --precision. @throws UsageError when it isn't auto, f32 or bf16.
PrecisionChoice read_precision(const Options& options);

/// An option of train_options(). @param help the manual's text; empty: the table's.
Option training_option(const std::string& name, const std::string& help = "");

/// All options of train_options(), by group.
std::vector<OptionGroup> training_option_groups();

/// Reads those options of train_options() that were given; the others have their defaults.
/// @throws UsageError naming the option whose value is invalid.
TrainOptions read_training_options(const Options& options);

/// The option --recipe, whose help lists what each of train_recipes() sets.
Option recipe_option();
/// Gives the options of the recipe that --recipe names, but those that have been given, its values.
/// @throws UsageError when there is no such recipe.
void take_recipe(Options& options);

/// The options --stem, --blocks, --hidden and --dropout, which vary the reference model.
OptionGroup reference_shape_options();

/// The values of reference_shape_options(), read before the heads are known.
struct RequestedShape {
  struct Dropout {
    float rate;
    bool alpha;
  };

  ReferenceShape trunk;  ///< everything but the heads
  /// By head. The value under the empty name is for all heads that aren't named; without it they have the paper's
  /// value.
  std::map<std::string, std::int64_t, std::less<>> features;
  std::map<std::string, Dropout, std::less<>> dropout;
};

/// @throws UsageError naming an option whose value is invalid, or that is given with a model whose shape is fixed.
RequestedShape read_shape(const Options& options);

/// The shape of a model with these heads, in the form of ModelInfo::shape. @throws UsageError naming an option's head
/// that isn't among them.
std::string shape_for(const Options& options, const RequestedShape& requested, const std::vector<Head>& heads);

}  // namespace facet::app
