#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/files.h"
#include "base/parallel.h"
#include "data/labels.h"
#include "facet/error.h"
#include "facet/machine.h"
#include "facet/text.h"
#include "formats/model_file.h"
#include "program/choose_precision.h"
#include "program/parameter_store.h"
#include "program/tuning_record.h"
#include "train/recipe.h"
#include "train/trainer_state.h"

namespace facet {
namespace {

/// The key of the precision in tuning.json.
constexpr const char* precision_key = "precision";
/// One program each for the full batch and for the smaller last batch of an epoch.
constexpr std::size_t kept_programs = 2;

double gigabytes(std::int64_t bytes) { return static_cast<double>(bytes) * 1e-9; }

/// Bytes that the confusion matrices take at most during and after the validation of `images` images.
std::int64_t confusion_bytes(const std::vector<Head>& heads, std::int64_t images) {
  constexpr std::int64_t counter = 64;  // an entry of HeadMeter's hash table
  std::int64_t bytes = 0;
  for (const Head& head : heads) {
    const std::int64_t classes = std::ssize(head.classes), pairs = classes * classes;
    const std::int64_t counted = std::min(images, pairs);
    const bool dense = head.classes.size() <= max_dense_classes;
    bytes += counted * counter +
             (dense ? pairs * std::int64_t{sizeof(std::int64_t)} : counted * std::int64_t{sizeof(ConfusionCell)});
  }
  return bytes;
}

/// Makes the run's folder absolute, so that the process may change its working folder. Only the constructor reads the
/// other files.
TrainOptions with_absolute_out(TrainOptions options) {
  if (!options.out.empty()) options.out = std::filesystem::absolute(options.out);
  return options;
}

}  // namespace

Trainer::State::State(Graph model_graph, ModelInfo model_info, const Dataset& train_set, const Dataset* validation_set,
                      const TrainOptions& asked)
    : options_(with_absolute_out(asked)),
      info_(std::move(model_info)),
      graph_(std::move(model_graph)),
      train_(train_set),
      validation_(validation_set),
      threads_(plan_threads(asked.threads, asked.loader_threads)),
      optimizer_(train::make_optimizer(asked)),
      gradient_policy_(optim::update_policy({.accumulate = asked.accumulate > 1, .clip_norm = asked.clip_norm})),
      tuning_record_(asked.tune),
      available_(available_memory()) {
  check_options(options_);
  check_data();
  freeze();
  losses_ = train::make_loss_rules(options_, train_);
  note_balanced_classes();
  if (!options_.out.empty()) {
    folder_.emplace(options_.out);
    metrics_.emplace(options_.out, info_.heads);
  }
  // Throw now rather than after the first epoch where a checkpoint can't hold the description of the model.
  formats::to_metadata(folder_ ? folder_->last().string() : "the model", info_);
  const bool is_new = !folder_ || !base::exists(options_.out);
  const std::unique_ptr<const train::LastCheckpoint> last = is_new ? nullptr : open_folder();
  const train::RunRecord* const record = last ? &last->record() : nullptr;
  if (!last) open_pretrained();
  if (folder_) {
    // The folder is made only now that the pretrained weights fit. Another run may have taken it meanwhile.
    if (!folder_->is_locked() && open_folder() != nullptr) refuse_run();
    folder_->prepare();
  }
  load_tuning_record(last != nullptr);

  base::ComputeScope scope(threads_.compute);
  if (scope.threads() < threads_.compute) {
    note(
        fmt::format("OpenMP provides {} of {} compute threads (OMP_THREAD_LIMIT, or a parallel region around the "
                    "caller): all is planned for {}",
                    scope.threads(), threads_.compute, scope.threads()));
    threads_.compute = scope.threads();
  }
  tuning_record_.observe(outside(scope, options_.on_tuning));
  choose_precision(record);
  fixed_options_ = train::fixed_options(options_, precision, train_);
  if (record) train::require_same_options(folder_->last().string(), record->options, fixed_options_);
  compile();
  make_loaders();
  check_memory(planned_bytes());
  arena_.grow(arena_bytes_);
  state_.start_epoch(1, info_.heads.size());
  if (validation_ != nullptr) validation_data_ = train::fingerprint(*validation_);
  if (last) resume(*last);
  if (folder_) folder_->remove_stale(last.get());
  if (metrics_) metrics_->cut(state_.epoch);
  save_tuning_record();
  note(program::TuningCache(options_.tuning_cache).add(tuning_record_));
  tuning_record_.observe({});
}

void Trainer::State::check_data() const {
  formats::require_graph(info_, graph_);
  data::require_heads(info_.heads, train_.heads(), "the training set");
  if (train_.size() == 0) throw Error("the training set holds no image");
  if (options_.drop_last && train_.size() < options_.batch) {
    throw Error(fmt::format("drop_last leaves no batch: the training set holds {} images, a batch {}", train_.size(),
                            options_.batch));
  }
  if (validation_ == nullptr && options_.patience > 0) {
    throw Error(
        fmt::format("patience is {} and there is no validation set; 0 is allowed without one", options_.patience));
  }
  if (validation_ == nullptr) return;
  data::require_heads(info_.heads, validation_->heads(), "the validation set");
  if (validation_->size() == 0) throw Error("the validation set holds no image");
}

void Trainer::State::freeze() {
  try {
    for (const std::string& pattern : options_.freeze) graph_.freeze(pattern);
  } catch (const Error& error) {
    throw Error(fmt::format("freeze: {}", error.what()));
  }
  if (graph_.frozen_count() == graph_.trainable_count()) throw Error("freeze leaves no weight to be trained");
}

void Trainer::State::note_balanced_classes() {
  for (std::size_t head = 0; head < losses_.size(); ++head) {
    const Head& found = info_.heads[head];
    const auto asked = options_.class_weights.find(found.name);
    if (asked == options_.class_weights.end() || !asked->second.balanced) continue;
    std::vector<std::string> weights;
    for (std::size_t c = 0; c < found.classes.size(); ++c) {
      weights.push_back(fmt::format("{} {:.3g}", found.classes[c], losses_[head].class_weights[c]));
    }
    note(fmt::format("balanced weights of {}: {}", found.name, list_of(weights)));
  }
}

std::unique_ptr<const train::LastCheckpoint> Trainer::State::open_folder() {
  if (!folder_->lock()) {
    note(fmt::format("the file system of {} has no locks: make sure that no other run uses the folder",
                     options_.out.string()));
  }
  const bool saved = base::exists(folder_->last());
  if (!options_.resume && (saved || metrics_->exist())) refuse_run();
  if (!saved) return nullptr;
  auto last = std::make_unique<const train::LastCheckpoint>(folder_->last());
  train::require_same_model(last->name(), last->info(), info_);
  return last;
}

void Trainer::State::refuse_run() const {
  throw Error(fmt::format("{} holds a run already: resume it, or take another folder", options_.out.string()));
}

void Trainer::State::open_pretrained() {
  if (options_.pretrained.empty()) return;
  pretrained_.emplace(options_.pretrained, graph_, info_.heads, options_.split_head);
  note(pretrained_->found().summary);
}

void Trainer::State::load_tuning_record(bool resumed) {
  const bool recorded = folder_ && base::exists(folder_->written_tuning_record());
  if (!options_.tuning_record.empty() && !(resumed && recorded)) {
    tuning_record_ = program::TuningRecord::load(options_.tuning_record, options_.tune);
  } else if (recorded) {
    tuning_record_ = program::TuningRecord::load(folder_->written_tuning_record(), options_.tune);
  }
  if (options_.tune) note(program::TuningCache(options_.tuning_cache).read_into(tuning_record_));
  if (resumed && !recorded) {
    notes_.push_back(
        fmt::format("{} is missing: primitives are chosen {}, and sums may round otherwise than before",
                    folder_->tuning_record().string(),
                    options_.tuning_record.empty() ? "again" : "as " + options_.tuning_record.string() + " has them"));
  }
}

void Trainer::State::choose_precision(const train::RunRecord* record) {
  PrecisionChoice choice = options_.precision;
  if (choice == PrecisionChoice::automatic) {
    std::string recorded =
        record != nullptr ? record->options.at(precision_key).get<std::string>() : tuning_record_.find(precision_key);
    const std::string measured = tuning_record_.find(measured_precision_key());  // the cache file may hold any text
    if (recorded.empty() && (measured == "f32" || measured == "bf16")) recorded = measured;
    if (!recorded.empty()) choice = parse_precision(recorded);
  }
  std::map<Precision, program::TuningRecord> tried;
  const auto seconds = [&](Precision candidate) {
    program::TuningRecord& tuning_record = tried.emplace(candidate, tuning_record_).first->second;
    program::ProgramOptions options = program_options(program::Mode::training);
    options.precision = candidate;
    options.batch = std::min(options_.batch, train_.size());
    return program::step_seconds(graph_, options, tuning_record);
  };
  const program::ChosenPrecision chosen = program::choose_precision(choice, seconds);
  precision = chosen.precision;
  if (const auto found = tried.find(precision); found != tried.end()) tuning_record_ = found->second;
  tuning_record_.record(precision_key, to_string(precision));
  if (chosen.measured) tuning_record_.record_measured(measured_precision_key(), to_string(precision));
  note(chosen.note);
}

std::string Trainer::State::measured_precision_key() const {
  std::string key = program::measured_precision_key(info_.model, info_.shape, graph_,
                                                    std::min(options_.batch, train_.size()), threads_.compute);
  if (graph_.frozen_count() > 0) key += fmt::format(" frozen {}", fmt::join(options_.freeze, " "));
  return fmt::format("{}{}{}", key, options_.save_memory ? " saving memory" : "", options_.tune ? "" : " untuned");
}

program::ProgramOptions Trainer::State::program_options(program::Mode mode) {
  program::ProgramOptions options;
  options.precision = precision;
  options.mode = mode;
  options.mean = info_.normalization.mean;
  options.std = info_.normalization.std;
  options.seed = options_.seed;
  options.save_memory = options_.save_memory;
  if (mode == program::Mode::training) {
    options.optimizer = optimizer_.get();
    options.losses = losses_;
    options.gradient_policy = gradient_policy_;
    options.average = average ? &*average : nullptr;
    options.average_decay = options_.ema_decay;
  }
  return options;
}

void Trainer::State::compile() {
  const std::size_t copies = 1 + (options_.ema_decay > 0 ? 1 : 0);
  const std::size_t of_trained = optimizer_->slot_names().size() + (options_.accumulate > 1 ? 1 : 0);
  const std::int64_t trained = graph_.trainable_count() - graph_.frozen_count();
  check_memory(graph_.trainable_count() * static_cast<std::int64_t>(copies * sizeof(float)) +
               trained * static_cast<std::int64_t>(of_trained * sizeof(float)));
  program::ProgramOptions full_batch = program_options(program::Mode::training);
  full_batch.batch = std::min(options_.batch, train_.size());
  program::LayoutPlan plan = program::plan_layouts(graph_, full_batch, tuning_record_);
  if (options_.ema_decay > 0) {
    average.emplace(program::make_parameters(graph_, options_.seed, program::without_bf16_copies(plan)));
  }
  parameters.emplace(program::make_parameters(graph_, options_.seed, std::move(plan)));
  if (pretrained_) pretrained_->load(*parameters);
  pretrained_.reset();
  training_programs_.emplace(graph_, *parameters, program_options(program::Mode::training), tuning_record_, arena_,
                             kept_programs);
  evaluation_programs_.emplace(graph_, evaluated(), program_options(program::Mode::inference), tuning_record_, arena_,
                               kept_programs);
  arena_bytes_ = training_programs_->plan(std::min(options_.batch, train_.size())).arena_bytes();
  const std::int64_t last = train_.size() % options_.batch;
  if (last > 0 && train_.size() > options_.batch && !options_.drop_last) {
    // Planning throws now, rather than at the end of an epoch, where a batch norm can't train on a single image.
    arena_bytes_ = std::max(arena_bytes_, training_programs_->plan(last).arena_bytes());
  }
  if (validation_ != nullptr) {
    const std::int64_t batch = std::min(options_.batch, validation_->size());
    arena_bytes_ = std::max(arena_bytes_, evaluation_programs_->plan(batch).arena_bytes());
    if (const std::int64_t rest = validation_->size() % batch; rest > 0) {
      arena_bytes_ = std::max(arena_bytes_, evaluation_programs_->plan(rest).arena_bytes());
    }
  }
  check_memory(planned_bytes());
}

std::int64_t Trainer::State::planned_bytes() const {
  std::int64_t bytes =
      static_cast<std::int64_t>(arena_bytes_ + training_programs_->held_bytes() + evaluation_programs_->held_bytes()) +
      static_cast<std::int64_t>(parameters->state().bytes() + (average ? average->state().bytes() : 0));
  for (const std::optional<Loader>* loader : {&loader_, &validation_loader_}) {
    if (*loader) bytes += (*loader)->held_bytes();
  }
  return bytes + (validation_ != nullptr ? confusion_bytes(info_.heads, validation_->size()) : 0);
}

void Trainer::State::check_memory(std::int64_t bytes) const {
  if (bytes <= available_) return;
  throw Error(
      fmt::format("training {} at {}x{} with batch {} needs {:.2f} GB of memory, {:.2f} GB are available: "
                  "take a smaller batch or size",
                  info_.model, info_.size, info_.size, options_.batch, gigabytes(bytes), gigabytes(available_)));
}

void Trainer::State::make_loaders() {
  LoaderOptions loading;
  loading.batch = options_.batch;
  loading.size = info_.size;
  loading.resize = info_.resize;
  loading.threads = options_.loader_threads;
  loading.seed = options_.seed;
  loading.flip = options_.flip;
  loading.drop_last = options_.drop_last;
  loader_.emplace(train_, loading);
  schedule_.emplace(options_, (loader_->batches_per_epoch() + options_.accumulate - 1) / options_.accumulate);
  if (validation_ == nullptr) return;
  loading.shuffle = false;
  loading.flip = false;
  loading.drop_last = false;
  validation_loader_.emplace(*validation_, loading);
}

void Trainer::State::resume(const train::LastCheckpoint& last) {
  const train::RunRecord& record = last.record();
  if (record.state.batch > loader_->batches_per_epoch()) {
    throw Error(fmt::format("{}: it stands after batch {} of an epoch that has {}", folder_->last().string(),
                            record.state.batch, loader_->batches_per_epoch()));
  }
  state_ = record.state;
  if (!at_end_of_step()) {
    throw Error(fmt::format("{}: it stands within a step, after batch {} of an epoch, which no run is saved in",
                            folder_->last().string(), state_.batch));
  }
  last.load(*parameters, average ? &*average : nullptr);
  saved_step_ = state_.step;
  if (!record.validation_data.empty() && record.validation_data != validation_data_ && state_.best >= 0) {
    state_.best = -1;
    state_.epochs_since_best = 0;
    note("the validation set has changed since the last checkpoint: the best epoch and patience start again");
  }
  notes_.push_back(fmt::format("goes on from {} at epoch {}, batch {} (step {})", folder_->last().string(),
                               state_.epoch, state_.batch, state_.step));
  if (record.threads != threads_.compute) {
    notes_.push_back(
        fmt::format("the run was saved with {} compute threads and goes on with {}: sums may round otherwise",
                    record.threads, threads_.compute));
  }
}

Trainer::Trainer(Graph graph, ModelInfo info, const Dataset& train, const Dataset* validation,
                 const TrainOptions& options)
    : state_(std::make_unique<State>(std::move(graph), std::move(info), train, validation, options)) {}

Trainer::~Trainer() = default;

Precision Trainer::precision() const { return state_->precision; }
std::int64_t Trainer::planned_bytes() const { return state_->planned_bytes(); }
Parameters& Trainer::parameters() {
  state_->finish_updates();
  return *state_->parameters;
}
Parameters& Trainer::evaluated_parameters() {
  state_->finish_updates();
  return state_->evaluated();
}
bool Trainer::run(const TrainObserver& observer) { return state_->run(observer); }

}  // namespace facet
