#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <utility>

#include "facet/error.h"
#include "facet/machine.h"
#include "formats/model_file.h"
#include "program/choose_precision.h"
#include "program/parameter_store.h"
#include "train/recipe.h"
#include "train/session.h"

namespace facet {
namespace {

/// The key of the precision in tuning.json.
constexpr const char* precision_key = "precision";
/// One program each for the full batch and for the smaller last batch of an epoch.
constexpr std::size_t kept_programs = 2;

const TrainOptions& checked(const TrainOptions& options) {
  check_options(options);
  return options;
}

double gigabytes(std::int64_t bytes) { return static_cast<double>(bytes) * 1e-9; }

}  // namespace

TrainingSession::State::State(Graph model_graph, ModelInfo model_info, const TrainOptions& requested,
                              std::int64_t max_images)
    : options(checked(requested)),
      info(std::move(model_info)),
      graph(std::move(model_graph)),
      full_batch(std::min(requested.batch, max_images)),
      available(available_memory()),
      threads(plan_threads(requested.threads, requested.loader_threads)),
      optimizer(train::make_optimizer(requested)),
      gradient_policy(optim::update_policy(
          {.accumulate = requested.accumulate > 1 || requested.keep_gradients, .clip_norm = requested.clip_norm})),
      tuning_record(requested.tune) {
  formats::require_graph(info, graph);
  for (const HeadOutput& head : graph.heads()) {
    if (head.kind == LossKind::softmax_cross_entropy || !options.class_weights.contains(head.name)) continue;
    throw Error(fmt::format("class_weights has the head {}, whose loss isn't softmax_cross_entropy and has no classes",
                            head.name));
  }
  options.class_weights = train::class_weights_by_head(options, info.heads);
  try {
    for (const std::string& pattern : options.freeze) graph.freeze(pattern);
  } catch (const Error& error) {
    throw error.with_prefix("freeze: ");
  }
  if (graph.frozen_count() == graph.trainable_count()) throw Error("freeze leaves no weight to be trained");
}

TrainingSession::State::~State() {
  try {
    gradient_policy->wait();
  } catch (const std::exception&) {
    // The session has ended: nobody reads the parameters any more.
  }
}

void TrainingSession::State::open_pretrained() {
  if (options.pretrained.empty()) return;
  pretrained_.emplace(options.pretrained, graph, info.heads, options.split_head);
  note(pretrained_->found().summary);
}

void TrainingSession::State::read_tuning_cache() {
  if (options.tune) note(program::TuningCache(options.tuning_cache).read_into(tuning_record));
}

void TrainingSession::State::take_threads(const base::ComputeScope& scope) {
  if (scope.threads() >= threads.compute) return;
  note(
      fmt::format("OpenMP provides {} of {} compute threads (OMP_THREAD_LIMIT, or a parallel region around the "
                  "caller): all is planned for {}",
                  scope.threads(), threads.compute, scope.threads()));
  threads.compute = scope.threads();
}

void TrainingSession::State::choose_precision(std::string recorded) {
  PrecisionChoice choice = options.precision;
  if (choice == PrecisionChoice::automatic) {
    if (recorded.empty()) recorded = tuning_record.find(precision_key);
    const std::string measured = tuning_record.find(measured_precision_key());  // the cache file may hold any text
    if (recorded.empty() && (measured == "f32" || measured == "bf16")) recorded = measured;
    if (!recorded.empty()) choice = parse_precision(recorded);
  }
  std::map<Precision, program::TuningRecord> tried;
  const auto seconds = [&](Precision candidate) {
    program::TuningRecord& record = tried.emplace(candidate, tuning_record).first->second;
    program::ProgramOptions trial = program_options(program::Mode::training);
    trial.precision = candidate;
    trial.batch = full_batch;
    return program::step_seconds(graph, trial, record);
  };
  const program::ChosenPrecision chosen = program::choose_precision(choice, seconds);
  precision = chosen.precision;
  if (const auto found = tried.find(precision); found != tried.end()) tuning_record = found->second;
  tuning_record.record(precision_key, to_string(precision));
  if (chosen.measured) tuning_record.record_measured(measured_precision_key(), to_string(precision));
  note(chosen.note);
}

std::string TrainingSession::State::measured_precision_key() const {
  std::string key = program::measured_precision_key(info.model, info.shape, graph, full_batch, threads.compute);
  if (graph.frozen_count() > 0) key += fmt::format(" frozen {}", fmt::join(options.freeze, " "));
  return fmt::format("{}{}{}", key, options.save_memory ? " saving memory" : "", options.tune ? "" : " untuned");
}

program::ProgramOptions TrainingSession::State::program_options(program::Mode mode) {
  program::ProgramOptions made;
  made.precision = precision;
  made.mode = mode;
  made.mean = info.normalization.mean;
  made.std = info.normalization.std;
  made.seed = options.seed;
  made.save_memory = options.save_memory;
  if (mode == program::Mode::training) {
    made.optimizer = optimizer.get();
    made.losses = losses;
    made.gradient_policy = gradient_policy;
    made.average = average ? &*average : nullptr;
    made.average_decay = options.ema_decay;
  }
  return made;
}

void TrainingSession::State::compile(const BatchSizes& sizes) {
  const std::size_t copies = 1 + (options.ema_decay > 0 ? 1 : 0);
  const std::size_t of_trained = optimizer->slot_names().size() + (gradient_policy->stores_gradients() ? 1 : 0);
  const std::int64_t trained = graph.trainable_count() - graph.frozen_count();
  require_memory(graph.trainable_count() * static_cast<std::int64_t>(copies * sizeof(float)) +
                 trained * static_cast<std::int64_t>(of_trained * sizeof(float)));
  program::ProgramOptions full = program_options(program::Mode::training);
  full.batch = full_batch;
  program::LayoutPlan plan = program::plan_layouts(graph, full, tuning_record);
  if (options.ema_decay > 0) {
    average.emplace(program::make_parameters(graph, options.seed, program::without_bf16_copies(plan)));
  }
  parameters.emplace(program::make_parameters(graph, options.seed, std::move(plan)));
  if (pretrained_) pretrained_->load(*parameters);
  pretrained_.reset();
  training_programs_.emplace(graph, *parameters, program_options(program::Mode::training), tuning_record, arena_,
                             kept_programs);
  evaluation_programs_.emplace(graph, evaluated(), program_options(program::Mode::inference), tuning_record, arena_,
                               kept_programs);
  // Planning throws now, rather than at the end of an epoch, where a batch norm can't train on a single image.
  for (const std::int64_t size : sizes.training) {
    arena_bytes_ = std::max(arena_bytes_, training_programs_->plan(size).arena_bytes());
  }
  for (const std::int64_t size : sizes.evaluation) {
    arena_bytes_ = std::max(arena_bytes_, evaluation_programs_->plan(size).arena_bytes());
  }
  require_memory(planned_bytes());
}

void TrainingSession::State::require_memory(std::int64_t bytes) const {
  if (bytes <= available) return;
  throw Error(fmt::format("training {} at {} with batch {} needs {:.2f} GB of memory, {:.2f} GB are available: "
                          "take a smaller batch or size",
                          info.model, to_string(info.size), options.batch, gigabytes(bytes), gigabytes(available)),
              ErrorCode::out_of_memory);
}

void TrainingSession::State::allocate() {
  arena_.grow(arena_bytes_);
  keep_measurements();
}

void TrainingSession::State::keep_measurements() {
  if (tuning_record.measured().size() == kept_measurements_) return;
  note(program::TuningCache(options.tuning_cache).add(tuning_record));
  kept_measurements_ = tuning_record.measured().size();
}

std::int64_t TrainingSession::State::planned_bytes() const {
  return static_cast<std::int64_t>(arena_bytes_ + training_programs_->held_bytes() +
                                   evaluation_programs_->held_bytes() + parameters->state().bytes() +
                                   (average ? average->state().bytes() : 0));
}

std::span<const program::HeadView> TrainingSession::State::train(const Batch& batch, const program::RunInput& step) {
  program::Program& program = training_programs_->get(batch.size);
  keep_measurements();
  program::RunInput input = step;
  input.pixels = batch.pixels.data();
  if (!batch.labels.empty()) input.labels = batch.labels.data();
  input.targets = batch.targets;
  program.run(input);
  gradient_scale = 1.0F / static_cast<float>(input.batches_before + 1);
  return program.heads();
}

void TrainingSession::State::evaluate(const Batch& batch, inference::Evaluation& evaluation) {
  program::Program& program = evaluation_programs_->get(batch.size);
  keep_measurements();
  program::RunInput input;
  input.pixels = batch.pixels.data();
  program.run(input);
  inference::read_predictions(program, info.heads, predictions_);
  evaluation.add(batch, predictions_);
}

std::string TrainingSession::State::find_not_finite() const {
  const int found = parameters->state().find_not_finite();
  return found < 0 ? "" : parameters->list()[static_cast<std::size_t>(found)].name;
}

}  // namespace facet
