#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <utility>

#include "facet/error.h"
#include "facet/machine.h"
#include "formats/model_file.h"
#include "graph/op.h"
#include "kernels/targets.h"
#include "onednn/onednn.h"
#include "program/choose_precision.h"
#include "program/layout_plan.h"
#include "program/parameter_store.h"
#include "train/recipe.h"
#include "train/session.h"

namespace facet {
namespace {

/// This process's CPU as messages name it.
std::string cpu_text() { return fmt::format("{} ({})", cpu_model(), onednn::effective_cpu_isa()); }

/// The key of the precision in tuning.json.
constexpr const char* precision_key = "precision";
/// One program each for the full batch and for the smaller last batch of an epoch.
constexpr std::size_t kept_programs = 2;

const TrainOptions& checked(const TrainOptions& options) {
  check_options(options);
  return options;
}

double gigabytes(std::int64_t bytes) { return static_cast<double>(bytes) * 1e-9; }

std::int64_t whole_batch_of(const TrainOptions& options, std::int64_t max_images) {
  const std::int64_t images = std::min(options.batch, max_images);
  const int processes = options.processes.size();
  if (images < processes) {
    throw Error(fmt::format("the training set holds {} image{}; {} processes need at least one each", images,
                            images == 1 ? "" : "s", processes));
  }
  return images;
}

std::shared_ptr<optim::GradientPolicy> make_policy(const TrainOptions& options) {
  const optim::UpdateOptions update{.accumulate = options.accumulate > 1 || options.keep_gradients,
                                    .clip_norm = options.clip_norm,
                                    .reduces_bf16 = options.reduce == Precision::bf16};
  comm::Communicator& group = options.processes.communicator();
  return group.is_alone() ? optim::update_policy(update) : optim::reduce_policy(group, update);
}

}  // namespace

TrainingSession::State::State(Graph model_graph, ModelInfo model_info, const TrainOptions& requested,
                              std::int64_t max_images)
    : options(checked(requested)),
      info(std::move(model_info)),
      graph(std::move(model_graph)),
      whole_batch(whole_batch_of(requested, max_images)),
      full_batch(share(whole_batch).size),
      available(available_memory()),
      threads(plan_threads(requested.threads, requested.loader_threads, requested.processes.sharing_cores())),
      optimizer(train::make_optimizer(requested)),
      gradient_policy(make_policy(requested)),
      tuning_record(requested.tune) {
  formats::require_graph(info, graph);
  for (const HeadOutput& head : graph.heads()) {
    if (predicts_class(head.kind) || !options.class_weights.contains(head.name)) continue;
    throw Error(
        fmt::format("class_weights has the head {}, whose loss is neither softmax_cross_entropy nor coral_loss "
                    "and has no classes",
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
  if (options.pretrained.empty() || !is_first_rank()) return;
  pretrained_.emplace(options.pretrained, graph, info.heads, options.split_head);
  note(pretrained_->found().summary);
}

void TrainingSession::State::read_tuning_cache() {
  if (options.tune && is_first_rank()) note(program::TuningCache(options.tuning_cache).read_into(tuning_record));
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
  group().on_first_rank([&] { choose_own_precision(std::move(recorded)); });
  if (group().is_alone()) return;
  precision = group().broadcast(precision);
  std::string cpu = cpu_text();
  group().broadcast(cpu);
  group().together([&] {
    if (precision != Precision::bf16 || has_native_bf16()) return;
    throw Error(fmt::format("rank 0 trains in bf16 on {}, in which {} does not compute natively: use f32, or start all "
                            "processes with the same --max-cpu-isa, such as avx2",
                            cpu, cpu_text()),
                ErrorCode::unsupported);
  });
}

void TrainingSession::State::choose_own_precision(std::string recorded) {
  PrecisionChoice choice = options.precision;
  if (choice == PrecisionChoice::automatic) {
    if (recorded.empty()) recorded = tuning_record.find(precision_key);
    const std::string measured = tuning_record.find(measured_precision_key());  // the cache file may hold any text
    if (recorded.empty() && (measured == "f32" || measured == "bf16")) recorded = measured;
    if (!recorded.empty()) choice = parse_precision(recorded);
  }
  std::map<Precision, program::TuningRecord> tried;
  const auto seconds = [&](Precision candidate, program::Tuning tuning) {
    program::TuningRecord untuned = tuning_record.without_tuning();
    program::TuningRecord& record =
        tuning == program::Tuning::none ? untuned : tried.emplace(candidate, tuning_record).first->second;
    program::ProgramOptions trial = program_options(program::Mode::training);
    trial.precision = candidate;
    trial.batch = full_batch;
    if (!group().is_alone()) {  // rank 0 measures alone: it exchanges nothing
      trial.gradient_policy = nullptr;
      trial.batch = std::max<std::int64_t>(full_batch, 2);  // a batch norm over one image may need others' images
    }
    return program::step_seconds(graph, trial, record);
  };
  const program::Tuning tuning = options.tune ? program::Tuning::full : program::Tuning::none;
  const program::ChosenPrecision chosen = program::choose_precision(choice, tuning, seconds);
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
    made.communicator = group().is_alone() ? nullptr : &group();
    made.sync_batch_norm = options.sync_batch_norm;
    made.as_for_batch = share_of(whole_batch, 0, group().size()).size;
  }
  return made;
}

void TrainingSession::State::compile(const BatchSizes& sizes) {
  const std::int64_t trained = graph.trainable_count() - graph.frozen_count();
  const std::int64_t values = graph.trainable_count() * (options.ema_decay > 0 ? 2 : 1);
  const std::int64_t gradients = gradient_policy->stores_gradients() ? trained : 0;
  const std::int64_t own_slots = std::ssize(optimizer->slot_names()) * trained / group().size();
  std::string record, plan_text;
  group().together([&] {
    require_memory((values + gradients + own_slots) * std::int64_t{sizeof(float)});
    if (!is_first_rank()) return;
    program::ProgramOptions full = program_options(program::Mode::training);
    full.batch = full_batch;
    program::LayoutPlan plan = program::plan_layouts(graph, full, tuning_record);
    if (!group().is_alone()) plan_text = program::to_text(plan, graph.parameters());
    compile_programs(std::move(plan), sizes);
    if (!group().is_alone()) record = tuning_record.to_text();
  });
  if (group().is_alone()) return;
  group().broadcast(record);
  group().broadcast(plan_text);
  if (const int first_threads = group().broadcast(threads.compute); first_threads != threads.compute) {
    note(fmt::format("computes on {} threads and rank 0 on {}: its primitives aren't timed, but chosen by default",
                     threads.compute, first_threads));
  }
  group().together([&] {
    if (is_first_rank()) return;
    const std::string rank_0 = group().name(0);
    tuning_record = program::TuningRecord::parse(rank_0, record, false);
    compile_programs(program::read_layout_plan(rank_0, plan_text, graph.parameters()), sizes);
  });
  broadcast_parameters();
}

void TrainingSession::State::broadcast_parameters() {
  if (group().is_alone()) return;
  const auto share_all = [&](Parameters& held) {
    Parameters::State& store = held.state();
    const auto share_range = [&](base::PageBuffer& range) {
      group().broadcast(std::span<std::byte>(range.data(), range.size()));
    };
    share_range(store.values);
    share_range(store.bf16);
    for (std::size_t i = 0; i < store.list.size(); ++i) store.touch(static_cast<int>(i));
    store.is_unchecked = true;
  };
  share_all(*parameters);
  if (average) share_all(*average);
}

void TrainingSession::State::compile_programs(program::LayoutPlan plan, const BatchSizes& sizes) {
  if (options.ema_decay > 0) {
    average.emplace(program::make_parameters(graph, options.seed, program::without_bf16_copies(plan)));
  }
  parameters.emplace(program::make_parameters(graph, options.seed, std::move(plan)));
  if (!group().is_alone()) parameters->state().share();
  if (pretrained_) pretrained_->load(*parameters);
  pretrained_.reset();
  program::ProgramOptions evaluation = program_options(program::Mode::inference);
  evaluation.as_for_batch = sizes.first_evaluation;
  evaluation_programs_.emplace(graph, evaluated(), evaluation, tuning_record, arena_, kept_programs);
  planned_batches_ = sizes.training;
  compile_training(info.size);
  training_size_ = info.size;
  for (const std::int64_t size : sizes.evaluation) {
    arena_bytes_ = std::max(arena_bytes_, evaluation_programs_->plan(size).arena_bytes());
  }
  parameters->state().own_slot_elements = slots().own_elements();
  require_memory(planned_bytes());
}

void TrainingSession::State::compile_training(ImageSize size) {
  std::optional<Graph> resized;
  if (size != info.size) resized.emplace(graph::with_input(graph, {3, size.height, size.width}));
  training_programs_.reset();
  resized_ = std::move(resized);
  training_programs_.emplace(resized_ ? *resized_ : graph, *parameters, program_options(program::Mode::training),
                             tuning_record, arena_, kept_programs);
  // Planning throws now, rather than at the end of an epoch, where a batch norm can't train on a single image.
  for (const std::int64_t batch : planned_batches_) {
    arena_bytes_ = std::max(arena_bytes_, training_programs_->plan(batch).arena_bytes());
  }
  training_held_bytes_ = std::max(training_held_bytes_, training_programs_->held_bytes());
}

void TrainingSession::State::set_training_size(ImageSize size) {
  if (training_size_ == size) return;
  finish_updates();
  training_size_.reset();
  std::string record;
  const auto compile_now = [&] {
    compile_training(size);
    require_memory(planned_bytes(), size);
  };
  group().together([&] {
    if (!is_first_rank()) return;
    compile_now();
    if (!group().is_alone()) record = tuning_record.to_text();
  });
  if (!group().is_alone()) {
    group().broadcast(record);
    group().together([&] {
      if (is_first_rank()) return;
      tuning_record = program::TuningRecord::parse(group().name(0), record, false);
      compile_now();
    });
  }
  training_size_ = size;
  keep_measurements();
}

void TrainingSession::State::require_memory(std::int64_t bytes, std::optional<ImageSize> size) const {
  const int processes = group().local_size();
  if (bytes * processes <= available) return;
  throw Error(fmt::format("training {} at {} with batch {} needs {:.2f} GB of memory{}, {:.2f} GB are available: "
                          "take a smaller batch or size",
                          info.model, to_string(size.value_or(info.size)), options.batch, gigabytes(bytes),
                          processes == 1 ? "" : fmt::format(" in each of {} processes on this machine", processes),
                          gigabytes(available)),
              ErrorCode::out_of_memory);
}

void TrainingSession::State::allocate() {
  arena_.grow(arena_bytes_);
  keep_measurements();
}

void TrainingSession::State::keep_measurements() {
  if (!is_first_rank() || tuning_record.measured().size() == kept_measurements_) return;
  note(program::TuningCache(options.tuning_cache).add(tuning_record));
  kept_measurements_ = tuning_record.measured().size();
}

std::int64_t TrainingSession::State::planned_bytes() const {
  return static_cast<std::int64_t>(arena_bytes_ + std::max(training_held_bytes_, training_programs_->held_bytes()) +
                                   evaluation_programs_->held_bytes() + parameters->state().bytes() +
                                   (average ? average->state().bytes() : 0));
}

void TrainingSession::State::finish_updates() {
  if (group().is_alone()) {
    gradient_policy->wait();
    return;
  }
  if (!is_exchanging_) return;
  // When this returns, no process reads another's weights any more.
  group().together([&] { gradient_policy->wait(); });
  program::gather_updates(*gradient_policy->exchange(), average ? &*average : nullptr);
  is_exchanging_ = false;
}

void TrainingSession::State::prepare(std::int64_t images) {
  training_program(images);
  keep_measurements();
}

program::Program& TrainingSession::State::training_program(std::int64_t images) {
  return training_programs_->get(images > 0 ? images : full_batch);
}

std::span<const program::HeadView> TrainingSession::State::train(const Batch& batch, const program::RunInput& step) {
  program::Program& program = training_program(batch.size);
  program::RunInput input = step;
  for (int rank = 0; rank < group().rank(); ++rank) {
    input.first_image += input.rank_images[static_cast<std::size_t>(rank)];
  }
  if (batch.size > 0) {
    input.pixels = batch.pixels.data();
    if (!batch.labels.empty()) input.labels = batch.labels.data();
    input.targets = batch.targets;
  }
  is_exchanging_ = true;
  gradient_scale = 0;  // where the run throws, the gradients are of no use
  group().together([&] { program.run(input); });
  gradient_scale = 1.0F / static_cast<float>(input.batches_before + 1);
  return program.heads();
}

void TrainingSession::State::evaluate(const Batch& batch, inference::Evaluation& evaluation) {
  if (batch.size == 0) return;
  program::Program& program = evaluation_programs_->get(batch.size);
  keep_measurements();
  program::RunInput input;
  input.pixels = batch.pixels.data();
  program.run(input);
  inference::read_predictions(program, info.heads, predictions_);
  evaluation.add(batch, predictions_);
}

LoaderOptions TrainingSession::State::evaluation_loading(std::int64_t images) const {
  const std::int64_t batch = std::max<std::int64_t>(std::min(options.batch, images), group().size());
  LoaderOptions loading = inference::evaluation_loading(info, batch, options.loader_threads);
  loading.rank = group().rank();
  loading.world = group().size();
  return loading;
}

std::string TrainingSession::State::find_not_finite() const {
  const int found = parameters->state().find_not_finite();
  return found < 0 ? "" : parameters->list()[static_cast<std::size_t>(found)].name;
}

}  // namespace facet
