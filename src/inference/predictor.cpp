#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <utility>

#include "base/memory.h"
#include "base/parallel.h"
#include "facet/error.h"
#include "facet/inference.h"
#include "facet/models.h"
#include "inference/batch_programs.h"
#include "inference/choose_precision.h"
#include "inference/evaluation.h"
#include "inference/threads.h"
#include "interchange/model_graph.h"
#include "program/choice_cache.h"
#include "program/choices.h"
#include "program/parameter_store.h"

namespace facet {
namespace {

/// The full batch, the last smaller one of a data set, and a single image.
constexpr std::size_t kept_programs = 3;

Graph graph_of(const std::filesystem::path& model_file) {
  const ModelInfo info = read_model_info(model_file);
  try {
    return build_model(info);
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", model_file.string(), error.what()));
  }
}

}  // namespace

Graph build_model(const ModelInfo& info) {
  return build_model(info.model, {.heads = info.heads, .size = info.size}, info.shape);
}

struct Predictor::State {
  State(const std::filesystem::path& model_file, Graph model_graph, const InferenceOptions& asked)
      : options(asked),
        info(read_model_info(model_file)),
        graph(std::move(model_graph)),
        parameters(graph, 0),
        threads(inference::compute_threads(asked.threads)),
        choices(asked.tune),
        cache(asked.choice_cache) {
    if (options.batch < 1) throw Error(fmt::format("batch is {}; at least 1 is allowed", options.batch));
    try {
      interchange::require_graph(info, graph);
    } catch (const Error& error) {
      throw Error(fmt::format("{}: {}", model_file.string(), error.what()));
    }
    load_weights(model_file, parameters);
    // ReLU may take a number that is none for zero: it would not be seen in the logits.
    if (const int index = parameters.state().find_not_finite(); index >= 0) {
      throw Error(fmt::format("{}: tensor '{}' holds a number that isn't finite", model_file.string(),
                              parameters.list()[static_cast<std::size_t>(index)].name));
    }
    cache.read_into(choices);
    const base::ComputeScope scope(threads);
    threads = scope.threads();
    const auto seconds = [&](Precision candidate) { return seconds_of(candidate); };
    precision = inference::choose_precision(options.precision, seconds).precision;
    programs.emplace(graph, parameters, program_options(precision), choices, arena, kept_programs);
  }

  program::ProgramOptions program_options(Precision computed) const {
    program::ProgramOptions made;
    made.as_for_batch = options.batch;
    made.precision = computed;
    made.mean = info.normalization.mean;
    made.std = info.normalization.std;
    return made;
  }

  double seconds_of(Precision candidate) {
    inference::BatchPrograms trial(graph, parameters, program_options(candidate), choices, arena, 1);
    const std::vector<std::uint8_t> black(static_cast<std::size_t>(options.batch) * inference::image_bytes(info));
    program::RunInput input;
    input.pixels = black.data();
    program::Program& program = trial.get(options.batch);
    program.run(input);
    const auto begin = std::chrono::steady_clock::now();
    program.run(input);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
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

  /// A program that was compiled anew may have timed something.
  void keep_choices() {
    if (choices.measured().size() == kept) return;
    cache.add(choices);
    kept = choices.measured().size();
  }

  InferenceOptions options;
  ModelInfo info;
  Graph graph;
  Parameters parameters;
  int threads;
  program::Choices choices;
  program::ChoiceCache cache;
  std::size_t kept = 0;  ///< measured choices that the cache has
  Precision precision = Precision::f32;
  base::Arena arena;
  std::optional<inference::BatchPrograms> programs;
  std::vector<HeadPrediction> predictions;
  std::vector<std::uint8_t> resized;
};

Predictor::Predictor(const std::filesystem::path& model_file, const InferenceOptions& options)
    : Predictor(model_file, graph_of(model_file), options) {}

Predictor::Predictor(const std::filesystem::path& model_file, Graph graph, const InferenceOptions& options)
    : state_(std::make_unique<State>(model_file, std::move(graph), options)) {}

Predictor::~Predictor() = default;
Predictor::Predictor(Predictor&&) noexcept = default;

const ModelInfo& Predictor::info() const { return state_->info; }
const InferenceOptions& Predictor::options() const { return state_->options; }
Precision Predictor::precision() const { return state_->precision; }

const std::vector<HeadPrediction>& Predictor::predict(std::span<const std::uint8_t> pixels) {
  const std::size_t bytes = inference::image_bytes(state_->info);
  const auto images = static_cast<std::int64_t>(pixels.size() / bytes);
  if (pixels.empty() || pixels.size() % bytes != 0 || images > state_->options.batch) {
    throw Error(fmt::format("predict was given {} bytes of pixels; 1 to {} images of {} bytes are allowed",
                            pixels.size(), state_->options.batch, bytes));
  }
  return state_->run(pixels.data(), images);
}

const std::vector<HeadPrediction>& Predictor::predict(const Image& image) {
  state_->resized.resize(inference::image_bytes(state_->info));
  resize(image, state_->info.size, state_->resized);
  return state_->run(state_->resized.data(), 1);
}

}  // namespace facet
