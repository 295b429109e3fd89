#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/parallel.h"
#include "facet/error.h"
#include "facet/machine.h"
#include "inference/evaluation.h"
#include "kernels/loss.h"
#include "program/parameter_store.h"
#include "train/trainer_state.h"

namespace facet {
namespace {

/// The mean accuracy over the heads that have labels; 0 when none has.
double mean_accuracy(const std::vector<HeadResult>& results) {
  double sum = 0;
  int heads = 0;
  for (const HeadResult& result : results) {
    if (result.labelled == 0) continue;
    sum += result.accuracy;
    ++heads;
  }
  return heads == 0 ? 0 : sum / heads;
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Calls `tell` with true when it is constructed and with false when it is destroyed.
class Saving {
 public:
  explicit Saving(const std::function<void(bool)>& tell) : tell_(tell) {
    if (tell_) tell_(true);
  }
  ~Saving() {
    if (tell_) tell_(false);
  }
  Saving(const Saving&) = delete;
  Saving& operator=(const Saving&) = delete;

 private:
  const std::function<void(bool)>& tell_;
};

double rate(std::int64_t images, double seconds) { return seconds > 0 ? static_cast<double>(images) / seconds : 0; }

}  // namespace

bool Trainer::State::run(const TrainObserver& user) {
  base::ComputeScope scope(threads_.compute);
  const TrainObserver observer{.step = outside(scope, user.step),
                               .epoch = outside(scope, user.epoch),
                               .note = outside(scope, user.note),
                               .stop = outside(scope, user.stop),
                               .saving = outside(scope, user.saving)};
  tuning_record_.observe(outside(scope, options_.on_tuning));
  saving_ = observer.saving;
  if (observer.note) {
    for (const std::string& note : notes_) observer.note(note);
  }
  notes_.clear();
  saved_at_ = Clock::now();
  while (state_.epoch <= options_.epochs && !out_of_patience()) {
    if (!run_epoch(observer)) return false;
  }
  if (state_.epoch <= options_.epochs && out_of_patience() && observer.note) {
    observer.note(fmt::format("stopped early: mean validation accuracy hasn't risen above {:.4f} since epoch {}",
                              state_.best, state_.epoch - 1 - state_.epochs_since_best));
  }
  return true;
}

bool Trainer::State::out_of_patience() const {
  return options_.patience > 0 && state_.epochs_since_best >= options_.patience;
}

bool Trainer::State::run_epoch(const TrainObserver& observer) {
  epoch_began_ = Clock::now();
  StepResult result;
  loader_->start_epoch(state_.epoch, state_.batch);
  while (step(result)) {
    if (observer.step) observer.step(result);
    const bool stop = observer.stop && observer.stop();
    if (stop || checkpoint_due()) save_within_epoch();
    if (stop) return false;
  }
  std::vector<HeadResult> validation;
  if (validation_ != nullptr) {
    std::optional<std::vector<HeadResult>> results = validate(observer.stop);
    if (!results) {
      save_within_epoch();
      return false;
    }
    validation = std::move(*results);
  }
  finish_epoch(std::move(validation), observer);
  return true;
}

bool Trainer::State::step(StepResult& result) {
  result.loss = 0;
  result.learning_rate = schedule_->learning_rate(state_.step + 1);
  step_begin_ = state_;
  int batches = 0;
  do {
    if (!train_batch(result)) return false;
    ++batches;
  } while (!at_end_of_step());
  result.loss /= batches;
  ++state_.step;
  ++state_.sums.steps;
  state_.sums.loss += result.loss;
  tell_progress(result);
  return true;
}

bool Trainer::State::train_batch(StepResult& result) {
  const Clock::time_point asked = Clock::now();
  const Batch* batch = next_batch(*loader_);
  if (batch == nullptr) return false;
  const double waited = seconds_since(asked);
  state_.sums.training_seconds += waited;
  state_.sums.waited_seconds += waited;

  program::Program& program = training_programs_->get(batch->size);
  save_tuning_record();
  program::RunInput input;
  input.pixels = batch->pixels.data();
  input.labels = batch->labels.data();
  input.step = state_.step + 1;
  input.learning_rate = static_cast<float>(result.learning_rate);
  input.momentum = schedule_->momentum(input.step);
  input.batches_before = state_.batch % options_.accumulate;
  input.first_image = input.batches_before * options_.batch;
  ++state_.batch;
  input.update = at_end_of_step();
  const Clock::time_point began = Clock::now();
  try {
    program.run(input);
  } catch (const Error& error) {
    --state_.batch;
    throw Error(fmt::format("{}: {}; {}", place(), error.what(), last_good()));
  }
  state_.sums.training_seconds += seconds_since(began);
  count(program.heads(), batch->size, result);
  return true;
}

bool Trainer::State::at_end_of_step() const {
  return state_.batch % options_.accumulate == 0 || state_.batch == loader_->batches_per_epoch();
}

void Trainer::State::count(std::span<const program::HeadView> heads, std::int64_t images, StepResult& result) {
  train::EpochSums& sums = state_.sums;
  for (std::size_t head = 0; head < heads.size(); ++head) {
    const kernels::LossSums& batch = heads[head].sums;
    result.loss += losses_[head].weight * batch.mean();
    sums.correct[head] += batch.correct;
    sums.labelled[head] += batch.labelled;
  }
  sums.images += images;
}

void Trainer::State::tell_progress(StepResult& result) const {
  const train::EpochSums& sums = state_.sums;
  const std::int64_t batches = loader_->batches_per_epoch();
  const std::int64_t all = options_.drop_last ? batches * options_.batch : train_.size();
  result.accuracy.resize(info_.heads.size());
  for (std::size_t head = 0; head < result.accuracy.size(); ++head) result.accuracy[head] = sums.accuracy(head);
  result.epoch = state_.epoch;
  result.batch = state_.batch;
  result.batches = batches;
  result.images = sums.images;
  result.images_per_s = rate(sums.images, sums.training_seconds);
  result.seconds_left =
      static_cast<double>(all - sums.images) * sums.training_seconds / static_cast<double>(sums.images);
}

const Batch* Trainer::State::next_batch(Loader& loader) {
  try {
    return loader.next();
  } catch (const std::exception& error) {
    // Discard the batches of the unfinished step: the run is saved as it was before that step.
    state_ = step_begin_;
    if (!folder_ || state_.step <= std::max<std::int64_t>(saved_step_, 0)) throw;
    const auto fail = [&](const std::string& saved) { throw Error(fmt::format("{}; {}", error.what(), saved)); };
    try {
      save_within_epoch();
    } catch (const Error& reason) {
      fail(fmt::format("the steps before it can't be saved: {}", reason.what()));
    }
    fail(fmt::format("the steps before it are saved, and the run can be resumed once this is mended: {}", last_good()));
  }
  return nullptr;
}

std::optional<std::vector<HeadResult>> Trainer::State::validate(const std::function<bool()>& stop) {
  finish_updates();
  // A stopped validation is continued; after an error all images are validated again.
  std::optional<inference::Evaluation> evaluation = std::exchange(evaluation_, std::nullopt);
  if (!evaluation) {
    evaluation.emplace(info_.heads);
    evaluated_batches_ = 0;
  }
  step_begin_ = state_;
  validation_loader_->start_epoch(0, evaluated_batches_);
  while (const Batch* batch = next_batch(*validation_loader_)) {
    program::Program& program = evaluation_programs_->get(batch->size);
    save_tuning_record();
    program::RunInput input;
    input.pixels = batch->pixels.data();
    try {
      program.run(input);
      inference::read_predictions(program, info_.heads, predictions_);
      evaluation->add(*batch, predictions_);
    } catch (const Error& error) {
      throw Error(fmt::format("validation after epoch {} (step {}): {}; {}", state_.epoch, state_.step, error.what(),
                              last_good()));
    }
    ++evaluated_batches_;
    if (stop && stop()) {
      evaluation_ = std::move(evaluation);
      return std::nullopt;
    }
  }
  return evaluation->results();
}

void Trainer::State::finish_epoch(std::vector<HeadResult> validation, const TrainObserver& observer) {
  const train::EpochSums& sums = state_.sums;
  EpochResult result;
  result.epoch = state_.epoch;
  result.train_loss = sums.loss / static_cast<double>(std::max<std::int64_t>(sums.steps, 1));
  for (std::size_t head = 0; head < info_.heads.size(); ++head) result.train_accuracy.push_back(sums.accuracy(head));
  for (const HeadResult& head : validation) result.validation_loss += head.loss;
  result.learning_rate = schedule_->learning_rate(state_.step);
  result.images_per_s = rate(sums.images, sums.training_seconds);
  result.waited = sums.training_seconds > 0 ? sums.waited_seconds / sums.training_seconds : 0;
  result.seconds = epoch_seconds();
  result.peak_resident_bytes = peak_resident_memory();
  train::TrainingState next = state_;
  if (!validation.empty()) {
    const double accuracy = mean_accuracy(validation);
    result.best = accuracy > state_.best;
    next.best = std::max(state_.best, accuracy);
    next.epochs_since_best = result.best ? 0 : state_.epochs_since_best + 1;
  }
  result.validation = std::move(validation);
  next.start_epoch(state_.epoch + 1, info_.heads.size());

  require_finite_parameters();
  // state_ moves to the next epoch only after everything is saved: a caller may call run() again after an error, which
  // then finishes the epoch again.
  if (folder_) {
    const Saving saving(saving_);
    if (result.best) folder_->save_best(info_, evaluated());
    if (options_.keep > 0) folder_->save_epoch(result.epoch, options_.keep, info_, evaluated());
    metrics_->add(result);
    save_last(next);
  }
  state_ = std::move(next);
  if (observer.epoch) observer.epoch(result);
}

void Trainer::State::save_within_epoch() {
  require_finite_parameters();
  state_.sums.seconds = epoch_seconds();
  epoch_began_ = Clock::now();
  if (!folder_) return;
  const Saving saving(saving_);
  save_last(state_);
}

Trainer::State::~State() {
  try {
    gradient_policy_->wait();
  } catch (const std::exception&) {
    // The run has ended: nobody reads the parameters any more.
  }
}

void Trainer::State::finish_updates() const {
  try {
    gradient_policy_->wait();
  } catch (const Error& error) {
    throw Error(fmt::format("after step {} (epoch {}): {}; {}", state_.step, state_.epoch, error.what(), last_good()));
  }
}

void Trainer::State::require_finite_parameters() const {
  finish_updates();
  const int found = parameters->state().find_not_finite();
  if (found < 0) return;
  throw Error(fmt::format("after step {} (epoch {}): parameter '{}' isn't finite; {}", state_.step, state_.epoch,
                          parameters->list()[static_cast<std::size_t>(found)].name, last_good()));
}

void Trainer::State::save_last(const train::TrainingState& state) {
  saved_at_ = Clock::now();
  folder_->save_last(info_, *parameters, average ? &*average : nullptr,
                     {state, fixed_options_, threads_.compute, validation_data_});
  saved_step_ = state.step;
}

bool Trainer::State::checkpoint_due() const {
  return folder_ && options_.checkpoint_minutes > 0 && seconds_since(saved_at_) >= 60 * options_.checkpoint_minutes;
}

void Trainer::State::save_tuning_record() {
  if (!folder_ || tuning_record_.all().size() == saved_tuning_entries_) return;
  tuning_record_.save(folder_->tuning_record());
  saved_tuning_entries_ = tuning_record_.all().size();
}

double Trainer::State::epoch_seconds() const { return state_.sums.seconds + seconds_since(epoch_began_); }

std::string Trainer::State::place() const {
  return fmt::format("step {} (epoch {}, batch {} of {})", state_.step + 1, state_.epoch, state_.batch + 1,
                     loader_->batches_per_epoch());
}

std::string Trainer::State::last_good() const {
  if (!folder_) return "no checkpoint is written, since the run has no folder";
  if (saved_step_ < 0) return "there is no checkpoint yet";
  return fmt::format("the last good checkpoint is {}, of step {}", folder_->last().string(), saved_step_);
}

}  // namespace facet
