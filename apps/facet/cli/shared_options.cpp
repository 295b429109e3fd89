#include "cli/shared_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "cli/options.h"
#include "cli/paths.h"
#include "cli/terminal.h"
#include "facet/error.h"
#include "facet/platform.h"
#include "facet/threads.h"

namespace facet::app {
namespace {

std::array<float, 3> read_channels(const Options& options, const std::string& name, bool above_zero) {
  const std::vector<std::string> words = options.words(name);
  std::array<float, 3> values{};
  bool good = words.size() == values.size();
  for (std::size_t i = 0; good && i < values.size(); ++i) {
    const char* const end = words[i].data() + words[i].size();
    const auto [stop, error] = std::from_chars(words[i].data(), end, values[i]);
    good = error == std::errc() && stop == end && std::isfinite(values[i]) && (!above_zero || values[i] > 0);
  }
  if (good) return values;
  throw UsageError(fmt::format("{} is '{}'; three numbers{} are needed, for red, green and blue, such as {}",
                               options.origin(name), options.text(name), above_zero ? " above 0" : "",
                               "0.485,0.456,0.406"));
}

}  // namespace

Option root_option() {
  return {.name = "root",
          .argument = "DIR",
          .help = "folder that the manifest's file names are relative to; by default the manifest's own folder"};
}

std::vector<Option> column_options() {
  return {{.name = "file-column",
           .argument = "NAME",
           .help = "column of the file names; by default `file`, else image, path, filename, file_name, filepath, "
                   "image_path or img"},
          {.name = "label-column", .argument = "NAME", .help = "column with the labels of the only head"}};
}

void read_columns(const Options& options, ManifestOptions& manifest) {
  manifest.file_column = options.text("file-column");
  manifest.label_column = options.text("label-column");
  if (!manifest.label_column.empty() && !manifest.heads.empty() &&
      manifest.heads != std::vector{manifest.label_column}) {
    throw UsageError(fmt::format("{} is '{}' and {} is '{}'; one of the two is enough", options.origin("label-column"),
                                 manifest.label_column, options.origin("heads"), options.text("heads")));
  }
}

Option bad_images_option(const std::string& consequence) {
  return {
      .name = "bad-images",
      .argument = "fail|skip",
      .help = "what to do about files that are missing, empty, truncated or not an image: fail, naming the first, or " +
              consequence,
      .fallback = "fail"};
}

Option precision_option(const std::string& fallback) {
  Option option = training_option("precision");
  option.fallback = fallback;
  return option;
}

std::filesystem::path read_tuning_cache(const Options& options) {
  if (!options.given("tuning-cache")) return user_cache_folder();
  const std::string folder = options.text("tuning-cache");
  return folder == "none" ? std::filesystem::path() : std::filesystem::path(folder);
}

std::string waiting_text(const EvaluationTime& time) {
  const double share = time.seconds > 0 ? time.waited_seconds / time.seconds : 0;
  return fmt::format("waited for images in {} of {:.3g} s, with {}", percent(share), time.seconds,
                     counted(time.loader_threads, "decoding thread"));
}

OptionGroup inference_options() {
  return {"Computing",
          {{.name = "checkpoint",
            .argument = "FILE",
            .help = "checkpoint of the run to use instead of the best: a file, or a name such as 'last'"},
           {.name = "tta",
            .argument = "flip|crops",
            .help = "average the probabilities over views of each image (test-time augmentation): flip, the image and "
                    "its mirror image; crops, the four corners and the centre of the image resized to the model's size "
                    "/ 0.875, and their mirror images (TenCrop)"},
           {.name = "batch", .argument = "N", .help = "batch size, in images", .fallback = "64"},
           precision_option("f32"),
           {.name = "threads",
            .argument = "N",
            .help = "compute threads; 0: OMP_NUM_THREADS, else all cores that the process may use",
            .fallback = "0"},
           training_option("loader-threads"),
           pin_option(),
           {.name = "tune",
            .argument = "",
            .help = "time candidate primitives first, which takes a while and pays off over many images",
            .value = Option::Value::none},
           training_option("tuning-cache")}};
}

InferenceOptions read_inference_options(const Options& options) {
  InferenceOptions inference;
  inference.batch = options.integer("batch", 1, 65536);
  if (options.given("tta")) {
    inference.tta =
        options.one_of("tta", {"flip", "crops"}) == "flip" ? TestTimeAugmentation::flip : TestTimeAugmentation::crops;
  }
  inference.precision = read_precision(options);
  inference.threads = read_threads(options, "threads");
  inference.loader_threads = read_threads(options, "loader-threads");
  inference.tune = options.on("tune");
  inference.tuning_cache = read_tuning_cache(options);
  return inference;
}

bool skips_bad_images(const Options& options) { return options.one_of("bad-images", {"fail", "skip"}) == "skip"; }

int read_threads(const Options& options, const std::string& name) {
  return static_cast<int>(options.integer(name, 0, max_threads));
}

Option pin_option() {
  return {.name = "pin",
          .argument = "",
          .help =
              "bind each compute thread to a core of its own, among the cores that the process may use (as set by "
              "taskset, srun or a cpuset) and that no other facet process has taken; where OMP_PROC_BIND, OMP_PLACES "
              "or GOMP_CPU_AFFINITY bind threads, they take precedence",
          .value = Option::Value::none};
}

void pin_if_requested(const Options& options, int threads) {
  if (!options.on("pin")) return;
  if (options.given("config") && !is_file(options.text("config"))) {
    throw UsageError(fmt::format("--config {} can't be read twice, as {} needs: a regular file is needed",
                                 options.text("config"), options.origin("pin")));
  }
  try {
    pin_compute_threads(threads);
  } catch (const Error& error) {
    throw UsageError(fmt::format("{}: {}", options.origin("pin"), error.what()));
  }
}

std::vector<Option> normalization_options() {
  return {{.name = "mean",
           .argument = "R,G,B",
           .help = "mean by channel, subtracted from pixels / 255",
           .fallback = "0.485,0.456,0.406"},
          {.name = "std",
           .argument = "R,G,B",
           .help = "standard deviation by channel, by which the difference is divided",
           .fallback = "0.229,0.224,0.225"}};
}

Normalization read_normalization(const Options& options) {
  return {read_channels(options, "mean", false), read_channels(options, "std", true)};
}

Option class_counts_option() {
  return {.name = "heads",
          .argument = "NAME=CLASSES,...",
          .help = "heads and their numbers of classes",
          .fallback = "age=9,gender=2,race=7"};
}

std::vector<Head> read_class_counts(const Options& options) {
  std::vector<Head> heads;
  for (const std::string& word : options.words("heads")) {
    const std::size_t equals = word.find('=');
    if (equals == 0 || equals == std::string::npos) {
      throw UsageError(
          fmt::format("{} is '{}'; NAME=CLASSES,... is needed", options.origin("heads"), options.text("heads")));
    }
    const std::string where = fmt::format("{} of {}", word.substr(0, equals), options.origin("heads"));
    Head head{word.substr(0, equals), {}};
    for (std::int64_t i = 0; i < parse_integer(word.substr(equals + 1), where, 2, 100'000); ++i) {
      head.classes.push_back(std::to_string(i));
    }
    if (std::any_of(heads.begin(), heads.end(), [&](const Head& other) { return other.name == head.name; })) {
      throw UsageError(
          fmt::format("{} is '{}', which has {} twice", options.origin("heads"), options.text("heads"), head.name));
    }
    heads.push_back(std::move(head));
  }
  return heads;
}

Option model_option() {
  return {.name = "model",
          .argument = "NAME",
          .help = fmt::format("the model: {}", fmt::join(model_names(), ", ")),
          .fallback = "reference",
          .choices = model_names()};
}

Option size_option() {
  return {.name = "size",
          .argument = "PIXELS|HEIGHTxWIDTH",
          .help =
              "size of the model's input: one number for a square, or its height and width, such as 224x160; the stem "
              "and each block of the reference model halve them, so that with the paper's shape they must be multiples "
              "of 16",
          .fallback = "224"};
}

ImageSize read_size(const Options& options) {
  try {
    return parse_image_size(options.text("size"), options.origin("size"));
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
}

Option resize_option() {
  return {.name = "resize",
          .argument = "squash|crop",
          .help =
              "how photographs are resized to that size, in training and whenever the model is used: squash takes the "
              "whole photograph, whatever its aspect ratio; crop keeps the aspect ratio: it resizes until "
              "size / 0.875 is covered and takes the centre, as torchvision evaluates",
          .fallback = "squash"};
}

ResizeMode read_resize(const Options& options) {
  return parse_resize_mode(options.one_of("resize", {"squash", "crop"}));
}

Option ordinal_option() {
  return {.name = "ordinal",
          .argument = "HEAD,...",
          .help =
              "heads whose classes are ordered, such as age: their loss counts how far a prediction is off (CORAL, "
              "Cao et al. 2020), and accuracy within one class and mean absolute error in classes are reported; the "
              "classes are in the order of --classes; without it, FairFace's classes are in FairFace's order, and "
              "numbers in ascending order"};
}

void set_ordinal(const Options& options, std::vector<Head>& heads) {
  for (Head& head : heads) head.ordinal = false;
  for (const std::string& name : options.words("ordinal")) {
    const auto found = std::ranges::find(heads, name, &Head::name);
    if (found == heads.end()) {
      throw UsageError(fmt::format("{} has a head {}; the heads are {}", options.origin("ordinal"), name,
                                   fmt::join(names_of(heads), ", ")));
    }
    found->ordinal = true;
  }
}

Graph build_requested_model(const Options& options, const ModelOptions& model, const std::string& shape) {
  const std::string name = options.one_of("model", model_names());
  try {
    return build_model(name, model, shape);
  } catch (const Error& error) {
    throw UsageError(fmt::format("{} is {}: {}", options.origin("size"), options.text("size"), error.what()));
  }
}

void freeze_requested(const Options& options, Graph& graph) {
  for (const std::string& pattern : options.list("freeze")) {
    try {
      graph.freeze(pattern);
    } catch (const Error& error) {
      throw UsageError(fmt::format("{}: {}", options.origin("freeze"), error.what()));
    }
  }
}

std::string frozen_text(const Graph& graph) {
  const std::int64_t frozen = graph.frozen_count();
  return frozen == 0 ? "" : fmt::format(", {} of them frozen", grouped(frozen));
}

PrecisionChoice read_precision(const Options& options) {
  return parse_precision(options.one_of("precision", train_option("precision").choices));
}

}  // namespace facet::app
