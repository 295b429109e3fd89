#include "train/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "base/files.h"
#include "data/labels.h"
#include "facet/error.h"
#include "facet/text.h"
#include "program/parameter_store.h"
#include "train/recipe.h"
#include "train/run_folder.h"
#include "train/run_options.h"

namespace facet {
namespace {

/// @throws Error unless the batch has pixels, labels and targets of the model's shapes, and each label is a class or
/// missing.
void require_batch(const Batch& batch, const ModelInfo& info, std::int64_t least, std::int64_t greatest) {
  const auto images = static_cast<std::size_t>(std::max<std::int64_t>(batch.size, 0));
  const std::size_t bytes = images * inference::image_bytes(info);
  if (batch.size < least || batch.size > greatest) {
    throw Error(fmt::format("step: a batch of {} images found; {} to {} are allowed", batch.size, least, greatest));
  }
  if (images == 0) return;
  const bool has_labels = !batch.labels.empty() || batch.targets.empty();
  if (batch.pixels.size() != bytes || (has_labels && batch.labels.size() != images * info.heads.size())) {
    throw Error(
        fmt::format("step: a batch of {} images has {} bytes of pixels and {} labels; {} bytes and {} labels "
                    "(one for each head) are needed",
                    batch.size, batch.pixels.size(), batch.labels.size(), bytes, images * info.heads.size()));
  }
  if (batch.targets.size() > info.heads.size()) {
    throw Error(fmt::format("step: the batch has target values of {} heads; the model has {}", batch.targets.size(),
                            info.heads.size()));
  }
  for (std::size_t head = 0; head < info.heads.size(); ++head) {
    const auto classes = static_cast<std::int64_t>(info.heads[head].classes.size());
    const std::size_t values = head < batch.targets.size() ? batch.targets[head].size() : 0;
    if (values != 0 && values != images * static_cast<std::size_t>(classes)) {
      throw Error(fmt::format("step: the batch has {} target values of head {}; {} images with {} outputs need {}",
                              values, info.heads[head].name, images, classes,
                              images * static_cast<std::size_t>(classes)));
    }
    for (std::size_t image = 0; has_labels && image < images; ++image) {
      const std::int32_t label = batch.labels[head * images + image];
      if (label >= no_label && label < classes) continue;
      throw Error(fmt::format("step: image {} of the batch has the label {} for head {}; -1 (none) to {} are allowed",
                              image + 1, label, info.heads[head].name, classes - 1));
    }
  }
}

/// @throws Error unless the batch and the options of its step are allowed in the session.
void require_step(const TrainingSession::State& s, const Batch& batch, const StepOptions& step) {
  if (s.group().is_alone()) {
    require_batch(batch, s.info, 1, s.full_batch);
  } else {
    require_batch(batch, s.info, 0, share_of(s.whole_batch, 0, s.group().size()).size);
  }
  if (!step.update && s.options.accumulate <= 1) {
    throw Error("step: update is false and the option accumulate is 1; a step of several batches needs accumulate > 1");
  }
  if (step.learning_rate && (!std::isfinite(*step.learning_rate) || *step.learning_rate < 0)) {
    throw Error(fmt::format("step: learning_rate is {}; 0 or more is allowed", *step.learning_rate));
  }
  if (step.momentum && !(*step.momentum >= 0 && *step.momentum < 1)) {
    throw Error(fmt::format("step: momentum is {}; 0 up to below 1 is allowed", *step.momentum));
  }
}

/// @throws Error where a process has other options that decide the results than rank 0.
void require_same_recipe(const TrainingSession::State& s) {
  train::require_same_in_all(s.group(), train::recipe_options(s.options, s.precision, s.info.heads));
}

train::RunRecord record_of(const TrainingSession::State& s) {
  train::RunRecord record;
  record.state.start_epoch(1, s.info.heads.size());
  record.state.step = s.finished_steps;
  record.options = train::recipe_options(s.options, s.precision, s.info.heads);
  record.threads = s.threads.compute;
  record.is_session = true;
  return record;
}

/// Changes parameters on rank 0, and gives them to all ranks also where that fails half-way.
void load_on_first_rank(TrainingSession::State& s, const std::function<void(const train::WriteSlot&)>& load) {
  s.group().together([&] { s.finish_updates(); });
  try {
    s.slots().load_on_first_rank(load);
  } catch (...) {
    s.broadcast_parameters();
    s.group().together([] { throw; });
  }
  s.broadcast_parameters();
}

/// See TrainingSession::save_checkpoint; on one process.
void write_checkpoint(TrainingSession::State& s, const std::filesystem::path& folder, const train::ReadSlot& read) {
  train::RunFolder run(folder);
  if (!run.lock()) {
    s.note(fmt::format("the file system of {} has no locks: make sure that no other process uses the folder",
                       folder.string()));
  }
  const bool is_runs =
      run.has_metrics() || (base::exists(run.last()) && !train::LastCheckpoint(run.last()).record().is_session);
  if (is_runs) throw Error(fmt::format("{} holds a run of a trainer: take another folder", folder.string()));
  run.prepare();
  s.tuning_record.save(run.tuning_record());
  run.save_last(s.info, *s.parameters, s.average ? &*s.average : nullptr, record_of(s), read);
}

/// See TrainingSession::load_checkpoint; on one process.
void read_checkpoint(TrainingSession::State& s, const std::filesystem::path& folder, const train::WriteSlot& write) {
  const train::LastCheckpoint last(train::RunFolder(folder).last());
  train::require_same_model(last.name(), last.info(), s.info);
  const std::string recorded = train::text_field(last.record().options, "optimizer");
  if (recorded != to_string(s.options.optimizer)) {
    throw Error(fmt::format("{}: it holds the state of the optimizer {}; the session's is {}", last.name(), recorded,
                            to_string(s.options.optimizer)));
  }
  last.load(*s.parameters, s.average ? &*s.average : nullptr, write);
  s.finished_steps = last.record().state.step;
}

}  // namespace

TrainingSession::TrainingSession(Graph graph, ModelInfo info, const TrainOptions& options) {
  comm::Communicator& group = options.processes.communicator();
  group.together([&] {
    state_ = std::make_unique<State>(std::move(graph), std::move(info), options, options.batch);
    State& s = *state_;
    s.losses = train::make_loss_rules(s.options, s.info.heads, nullptr);
    s.open_pretrained();
    if (!options.tuning_record.empty() && s.is_first_rank()) {
      s.tuning_record = program::TuningRecord::load(options.tuning_record, options.tune);
    }
    s.read_tuning_cache();
  });
  State& s = *state_;
  require_same_recipe(s);
  base::ComputeScope scope(s.threads.compute);
  s.take_threads(scope);
  const train::TuningObserver observer(s.tuning_record, scope, options.on_tuning);
  s.choose_precision("");
  s.compile({.training = {s.full_batch},
             .evaluation = {},
             .first_evaluation = share_of(s.whole_batch, 0, group.size()).size});
  group.together([&] { s.allocate(); });
}

TrainingSession::TrainingSession(std::unique_ptr<State> state) : state_(std::move(state)) {}
TrainingSession::~TrainingSession() = default;
TrainingSession::TrainingSession(TrainingSession&&) noexcept = default;
TrainingSession& TrainingSession::operator=(TrainingSession&&) noexcept = default;

TrainingSession::State& TrainingSession::state() const {
  if (state_ == nullptr) throw Error("the session was moved from and has no model");
  return *state_;
}

const Graph& TrainingSession::graph() const { return state().graph; }
const ModelInfo& TrainingSession::info() const { return state().info; }
const TrainOptions& TrainingSession::options() const { return state().options; }
Precision TrainingSession::precision() const { return state().precision; }
int TrainingSession::threads() const { return state().threads.compute; }
std::int64_t TrainingSession::planned_bytes() const { return state().planned_bytes(); }
std::int64_t TrainingSession::finished_steps() const { return state().finished_steps; }
std::vector<std::string> TrainingSession::take_notes() { return std::exchange(state().notes, {}); }

BatchResult TrainingSession::step(const Batch& batch, const StepOptions& step) {
  State& s = state();
  std::vector<std::int64_t> sizes{batch.size};
  s.group().together([&] { require_step(s, batch, step); });
  if (!s.group().is_alone()) {
    sizes = s.group().all_gather(batch.size);
    const std::vector<std::uint8_t> updates = s.group().all_gather(static_cast<std::uint8_t>(step.update ? 1 : 0));
    s.group().together([&] {
      const std::int64_t images = std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
      if (images < 1 || images > s.whole_batch) {
        throw Error(fmt::format("step: a batch of {} images in all processes found; 1 to {} are allowed", images,
                                s.whole_batch));
      }
      if (std::ranges::count(updates, updates[0]) != std::ssize(updates)) {
        throw Error("step: update is true in some processes and false in others; it must be the same in all");
      }
    });
  }
  const double rate = step.learning_rate.value_or(train::peak_learning_rate(s.options));
  program::RunInput input;
  input.step = s.finished_steps + 1;
  input.learning_rate = static_cast<float>(rate);
  input.momentum = step.momentum;
  input.batches_before = s.batches_of_step;
  input.first_image = s.images_of_step;
  input.update = step.update;
  input.rank_images = sizes;

  BatchResult result{.step = input.step};
  base::ComputeScope scope(s.threads.compute);
  const train::TuningObserver observer(s.tuning_record, scope, s.options.on_tuning);
  // Where the run throws, the next batch begins the step anew, since some gradients may hold this one's part.
  s.begin_step();
  s.set_training_size(s.info.size);  // a trainer may have trained at another one
  s.group().together([&] { s.prepare(batch.size); });
  const std::span<const program::HeadView> heads = s.train(batch, input);
  for (std::size_t head = 0; head < heads.size(); ++head) {
    const kernels::LossSums& sums = heads[head].sums;
    constexpr double none = std::numeric_limits<double>::quiet_NaN();
    const double loss = sums.weight > 0 ? sums.mean() : none;
    result.heads.push_back({.loss = loss, .labelled = sums.labelled, .correct = sums.correct});
    result.loss += s.losses[head].weight * sums.mean();
  }
  if (step.update) {
    ++s.finished_steps;
  } else {
    s.batches_of_step = input.batches_before + 1;
    s.images_of_step = input.first_image + std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
  }
  return result;
}

std::vector<HeadResult> TrainingSession::evaluate(const Dataset& data, const std::function<bool()>& stop) {
  State& s = state();
  std::optional<Loader> loader;
  s.group().together([&] {
    data::require_heads(s.info.heads, data.heads(), "the data set");
    if (data.size() == 0) throw Error("the data set holds no image to evaluate");
    loader.emplace(data, s.evaluation_loading(data.size()));
    loader->start_epoch(0);
  });
  s.group().together([&] { s.finish_updates(); });
  base::ComputeScope scope(s.threads.compute);
  const train::TuningObserver observer(s.tuning_record, scope, s.options.on_tuning);
  const std::function<bool()> ends = train::outside(scope, stop);
  inference::Evaluation evaluation(s.info.heads, s.graph);
  for (bool stops = false; !stops;) {
    s.group().together([&] {
      const Batch* const batch = loader->next();
      stops = batch == nullptr;
      if (stops) return;
      s.evaluate(*batch, evaluation);
      stops = ends && ends();
    });
    stops = s.group().max(stops ? 1 : 0) > 0;
  }
  return evaluation.results(s.group());
}

Parameters& TrainingSession::parameters() {
  state().finish_updates();
  return *state().parameters;
}

Parameters& TrainingSession::evaluated_parameters() {
  state().finish_updates();
  return state().evaluated();
}

std::vector<float> TrainingSession::get(std::string_view name) { return parameters().get(parameters().find(name)); }

void TrainingSession::set(std::string_view name, const std::vector<float>& values) {
  parameters().set(parameters().find(name), values);
}

std::vector<float> TrainingSession::gradient(std::string_view name) {
  const State& s = state();
  const int index = parameters().find(name);
  if (!s.options.keep_gradients) {
    throw Error(fmt::format("the gradient of '{}' isn't kept: set the option keep_gradients", name));
  }
  if (!s.parameters->list()[static_cast<std::size_t>(index)].is_trained()) {
    throw Error(fmt::format("parameter '{}' isn't trained and has no gradient", name));
  }
  if (s.gradient_scale == 0) {
    throw Error(
        fmt::format("the gradient of '{}' doesn't exist: no step has been run, or the last one has failed", name));
  }
  const Parameters::State& store = s.parameters->state();
  const StoredParameter& place = store.stored[static_cast<std::size_t>(index)];
  const std::size_t count = place.layout.get_size() / sizeof(float);
  std::vector<float> stored(store.gradient(index), store.gradient(index) + count);
  if (const comm::BucketExchange* const exchange = s.gradient_policy->exchange()) {
    // The processes' gradients are summed when the step ends. Each then has the sums of its own parts.
    if (s.batches_of_step == 0) {
      std::ranges::fill(stored, 0.0F);
      for (const comm::Part& part : exchange->parts_within({place.offset, count}, s.group().rank())) {
        std::copy_n(store.gradient(index) + (part.begin - place.offset), part.count,
                    stored.begin() + static_cast<std::ptrdiff_t>(part.begin - place.offset));
      }
    }
    s.group().sum(std::span<float>(stored));
  }
  std::vector<float> gradient = store.read(index, stored.data());
  for (float& element : gradient) element *= s.gradient_scale;
  return gradient;
}

bool TrainingSession::keep_if_best(double score) {
  State& s = state();
  if (std::isnan(score) || (s.best_score && score <= *s.best_score)) return false;
  const Parameters& now = evaluated_parameters();
  s.group().together([&] {
    if (!s.best) s.best.emplace(program::make_parameters(s.graph, 0, program::without_bf16_copies(*now.state().plan)));
    program::copy_values(now, *s.best);
  });
  s.best_score = score;
  return true;
}

std::optional<double> TrainingSession::best_score() const { return state().best_score; }

void TrainingSession::restore_best() {
  State& s = state();
  if (!s.best_score) throw Error("restore_best: no weights were kept: call keep_if_best first");
  program::copy_values(*s.best, parameters());
  if (s.average) program::copy_values(*s.best, *s.average);
}

Predictor TrainingSession::predictor(const InferenceOptions& options) {
  State& s = state();
  std::optional<Predictor> made;
  s.group().together([&] { s.finish_updates(); });
  s.group().together([&] { made.emplace(s.info, s.graph, s.evaluated(), options); });
  return std::move(*made);
}

void TrainingSession::save(const std::filesystem::path& file) {
  State& s = state();
  s.group().together([&] { s.finish_updates(); });
  s.group().on_first_rank([&] { save_model(file, s.info, s.evaluated()); });
}

std::string TrainingSession::tuning_record() const { return state().tuning_record.to_text(); }

void TrainingSession::load(const std::filesystem::path& file) {
  State& s = state();
  load_on_first_rank(s, [&](const train::WriteSlot&) {
    load_weights(file, *s.parameters);
    if (s.average) load_weights(file, *s.average);
  });
}

void TrainingSession::save_checkpoint(const std::filesystem::path& folder) {
  State& s = state();
  s.group().together([&] {
    if (s.batches_of_step > 0) throw Error("save_checkpoint: the step in progress isn't updated yet; end it first");
  });
  s.group().together([&] { s.finish_updates(); });
  s.slots().save_on_first_rank([&](const train::ReadSlot& read) { write_checkpoint(s, folder, read); });
}

void TrainingSession::load_checkpoint(const std::filesystem::path& folder) {
  State& s = state();
  load_on_first_rank(s, [&](const train::WriteSlot& write) { read_checkpoint(s, folder, write); });
  s.finished_steps = s.group().broadcast(s.finished_steps);
  s.gradient_scale = 0;
  s.begin_step();
}

double scheduled_learning_rate(const TrainOptions& options, std::int64_t steps_per_epoch, std::int64_t step) {
  return train::checked_schedule(options, steps_per_epoch, step).learning_rate(step);
}

std::optional<double> scheduled_momentum(const TrainOptions& options, std::int64_t steps_per_epoch, std::int64_t step) {
  return train::checked_schedule(options, steps_per_epoch, step).momentum(step);
}

ImageSize scheduled_size(const TrainOptions& options, ImageSize size, std::int64_t epoch) {
  check_options(options);
  if (epoch < 1 || size.height < 1 || size.width < 1) {
    throw Error(fmt::format("schedule: epoch {} of images of {} found; 1 or more is allowed", epoch, to_string(size)));
  }
  return train::training_size(options, size, epoch);
}

std::vector<double> balanced_class_weights(const Dataset& data, std::string_view head) {
  return train::balanced_weights(data, data::find_head(data.heads(), head, "balanced_class_weights"));
}

}  // namespace facet
