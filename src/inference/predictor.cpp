#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <optional>
#include <utility>

#include "base/cpus.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "facet/error.h"
#include "facet/inference.h"
#include "facet/models.h"
#include "facet/threads.h"
#include "formats/model_file.h"
#include "inference/evaluation.h"
#include "program/batch_programs.h"
#include "program/choose_precision.h"
#include "program/parameter_store.h"
#include "program/tuning_record.h"

namespace facet {
namespace {

/// One program each for the full batch, for the smaller last batch of a data set and for a single image.
constexpr std::size_t kept_programs = 3;

Graph graph_of(const std::filesystem::path& model_file) {
  const ModelInfo info = read_model_info(model_file);
  try {
    return build_model(info);
  } catch (const Error& error) {  // what the caller of build_model passes is the file's content here
    const bool is_content = error.code() == ErrorCode::invalid_argument;
    throw Error(fmt::format("{}: {}", model_file.string(), error.what()),
                is_content ? ErrorCode::invalid_data : error.code());
  }
}

}  // namespace

Graph build_model(const ModelInfo& info) {
  return build_model(info.model, {.heads = info.heads, .size = info.size}, info.shape);
}

struct Predictor::State {
  /// @param what messages call the model.
  State(const std::string& what, ModelInfo model_info, Graph model_graph, const InferenceOptions& inference_options,
        const std::function<void(Parameters&)>& set_weights)
      : options(inference_options),
        info(std::move(model_info)),
        graph(std::move(model_graph)),
        parameters(program::zero_parameters(graph)),
        threads(resolve_threads(inference_options.threads)),
        tuning_record(inference_options.tune),
        cache(inference_options.tuning_cache) {
    base::require_threads("loader_threads", options.loader_threads);
    if (options.batch < 1) throw Error(fmt::format("batch is {}; at least 1 is allowed", options.batch));
    try {
      formats::require_graph(info, graph);
    } catch (const Error& error) {
      throw error.with_prefix(what + ": ");
    }
    set_weights(parameters);
    // A ReLU may turn NaN into 0, so that non-finite weights need not show in the logits.
    if (const int index = parameters.state().find_not_finite(); index >= 0) {
      throw Error(fmt::format("{}: tensor '{}' holds a number that isn't finite", what,
                              parameters.list()[static_cast<std::size_t>(index)].name),
                  ErrorCode::invalid_data);
    }
    cache.read_into(tuning_record);
    const base::ComputeScope scope(threads);
    threads = scope.threads();
    precision = choose_precision();
    programs.emplace(graph, parameters, program_options(precision), tuning_record, arena, kept_programs);
  }

  program::ProgramOptions program_options(Precision computed) const {
    program::ProgramOptions made;
    made.as_for_batch = options.batch;
    made.precision = computed;
    made.mean = info.normalization.mean;
    made.std = info.normalization.std;
    return made;
  }

  /// The precision to compute in. `automatic` takes the one that the tuning cache holds, else it measures and records
  /// the result, so that later processes take the same precision.
  Precision choose_precision() {
    const std::string key = fmt::format(
        "inference {}{}", program::measured_precision_key(info.model, info.shape, graph, options.batch, threads),
        options.tune ? "" : " untuned");
    PrecisionChoice choice = options.precision;
    if (choice == PrecisionChoice::automatic) {
      const std::string known = tuning_record.find(key);  // the cache file may hold any text
      if (known == to_string(Precision::f32)) choice = PrecisionChoice::f32;
      if (known == to_string(Precision::bf16) && has_native_bf16()) choice = PrecisionChoice::bf16;
    }
    const auto seconds = [&](Precision candidate, program::Tuning tuning) {
      program::TuningRecord untuned = tuning_record.without_tuning();
      return seconds_of(candidate, tuning == program::Tuning::none ? untuned : tuning_record);
    };
    const program::Tuning tuning = options.tune ? program::Tuning::full : program::Tuning::none;
    const program::ChosenPrecision chosen = program::choose_precision(choice, tuning, seconds);
    if (chosen.measured) tuning_record.record_measured(key, to_string(chosen.precision));
    keep_choices();
    return chosen.precision;
  }

  /// Seconds that inference of a full batch takes in a precision: the minimum of a few runs after a warm-up run. The
  /// memory of the trial is freed afterwards.
  double seconds_of(Precision candidate, program::TuningRecord& record) {
    base::Arena of_trial;
    program::BatchPrograms trial(graph, parameters, program_options(candidate), record, of_trial, 1);
    program::Program& program = trial.get(options.batch);
    const std::vector<std::uint8_t> black(static_cast<std::size_t>(options.batch) * inference::image_bytes(info));
    program::RunInput input;
    input.pixels = black.data();
    program.run(input);
    double fastest = std::numeric_limits<double>::infinity();
    double total = 0;
    for (int run = 0; run < 5 && (run < 2 || total < 0.5); ++run) {
      const auto begin = std::chrono::steady_clock::now();
      program.run(input);
      const double taken = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      fastest = std::min(fastest, taken);
      total += taken;
    }
    return fastest;
  }

  const std::vector<HeadPrediction>& run(const std::uint8_t* pixels, std::int64_t images) {
    const base::ComputeScope scope(threads);
    program::Program& program = programs->get(images);
    keep_choices();
    program::RunInput input;
    input.pixels = pixels;
    program.run(input);
    inference::read_predictions(program, info.heads, predictions);
    return predictions;
  }

  /// Adds new measurements to the tuning cache: compiling a program may have timed primitives.
  void keep_choices() {
    if (tuning_record.measured().size() == kept) return;
    cache.add(tuning_record);
    kept = tuning_record.measured().size();
  }

  InferenceOptions options;
  ModelInfo info;
  Graph graph;
  Parameters parameters;
  int threads;
  program::TuningRecord tuning_record;
  program::TuningCache cache;
  std::size_t kept = 0;  ///< measured entries that the cache has
  Precision precision = Precision::f32;
  base::Arena arena;
  std::optional<program::BatchPrograms> programs;
  std::vector<HeadPrediction> predictions;
  std::vector<std::uint8_t> resized;
};

Predictor::Predictor(const std::filesystem::path& model_file, const InferenceOptions& options)
    : Predictor(model_file, graph_of(model_file), options) {}

Predictor::Predictor(const std::filesystem::path& model_file, Graph graph, const InferenceOptions& options)
    : state_(std::make_unique<State>(model_file.string(), read_model_info(model_file), std::move(graph), options,
                                     [&](Parameters& parameters) { load_weights(model_file, parameters); })) {}

Predictor::Predictor(ModelInfo info, Graph graph, const Parameters& weights, const InferenceOptions& options)
    : state_(std::make_unique<State>("the model", std::move(info), std::move(graph), options,
                                     [&](Parameters& parameters) { program::copy_values(weights, parameters); })) {}

Predictor::~Predictor() = default;
Predictor::Predictor(Predictor&&) noexcept = default;

Predictor::State& Predictor::state() const {
  if (state_ == nullptr) throw Error("the predictor was moved from and has no model");
  return *state_;
}

const ModelInfo& Predictor::info() const { return state().info; }
const Graph& Predictor::graph() const { return state().graph; }
const InferenceOptions& Predictor::options() const { return state().options; }
Precision Predictor::precision() const { return state().precision; }

const std::vector<HeadPrediction>& Predictor::predict(std::span<const std::uint8_t> pixels) {
  State& s = state();
  const std::size_t bytes = inference::image_bytes(s.info);
  const auto images = static_cast<std::int64_t>(pixels.size() / bytes);
  if (pixels.empty() || pixels.size() % bytes != 0 || images > s.options.batch) {
    throw Error(fmt::format("predict was given {} bytes of pixels; 1 to {} images of {} bytes are allowed",
                            pixels.size(), s.options.batch, bytes));
  }
  return s.run(pixels.data(), images);
}

const std::vector<HeadPrediction>& Predictor::predict(const Image& image) {
  State& s = state();
  s.resized.resize(inference::image_bytes(s.info));
  resize(image, s.info.size, s.info.resize, s.resized);
  return s.run(s.resized.data(), 1);
}

}  // namespace facet
