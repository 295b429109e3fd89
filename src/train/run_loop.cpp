#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <sstream>
#include <utility>

#include "base/files.h"
#include "base/parallel.h"
#include "facet/error.h"
#include "facet/machine.h"
#include "inference/evaluation.h"
#include "kernels/loss.h"
#include "program/parameter_store.h"
#include "train/trainer_state.h"

namespace facet {
namespace {

/// The mean accuracy over the heads that have labels and an accuracy; 0 when none has.
double mean_accuracy(const std::vector<HeadResult>& results) {
  double sum = 0;
  int heads = 0;
  for (const HeadResult& result : results) {
    if (result.labelled == 0 || std::isnan(result.accuracy)) continue;
    sum += result.accuracy;
    ++heads;
  }
  return heads == 0 ? 0 : sum / heads;
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// The exception as an Error: a caller's data set or sink may throw something else.
Error as_error(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    return error;
  } catch (const std::exception& error) {
    return Error(error.what(), ErrorCode::invalid_data);
  } catch (...) {
    return Error("an exception of an unknown type", ErrorCode::invalid_data);
  }
}

double rate(std::int64_t images, double seconds) { return seconds > 0 ? static_cast<double>(images) / seconds : 0; }

}  // namespace

void Trainer::State::tell_users(const std::function<void(TrainSink&)>& tell) {
  if (sinks_.empty()) return;
  const base::ComputeScope::Suspension suspension(*scope_);
  for (TrainSink* const sink : sinks_) tell(*sink);
}

void Trainer::State::tell_all(const std::function<void(TrainSink&)>& tell) {
  for (const auto& sink : file_sinks_) tell(*sink);
  tell_users(tell);
}

RunInfo Trainer::State::run_info() const {
  return {.model = s_.info,
          .parameters = s_.graph.trainable_count(),
          .frozen = s_.graph.frozen_count(),
          .options = s_.options,
          .precision = s_.precision,
          .threads = s_.threads.compute,
          .train_images = train_.size(),
          .validation_images = validation_ != nullptr ? validation_->size() : 0,
          .batches_per_epoch = loader_->batches_per_epoch(),
          .steps_per_epoch = steps_per_epoch(),
          .epoch = state_.epoch,
          .step = state_.step};
}

bool Trainer::State::run(const std::vector<TrainSink*>& sinks, const std::function<bool()>& user_stop) {
  base::ComputeScope scope(s_.threads.compute);
  const train::TuningObserver observer(s_.tuning_record, scope, s_.options.on_tuning);
  const std::function<bool()> stop = train::outside(scope, user_stop);
  group().together([&] {
    if (std::ranges::find(sinks, nullptr) != sinks.end()) throw Error("one of the sinks is null");
  });
  const struct Ends {  // nothing of the caller's is used after this call
    Trainer::State& state;
    ~Ends() {
      state.sinks_.clear();
      state.scope_ = nullptr;
    }
  } ends{*this};
  scope_ = &scope;
  sinks_ = sinks;
  s_.begin_step();  // a caller may have begun a step of the session
  saved_at_ = Clock::now();

  const RunInfo info = run_info();
  const auto tell_note = [&](const std::string& note) { tell_all([&](TrainSink& sink) { sink.on_note(note); }); };
  const std::vector<std::string> notes = take_all_notes();
  group().together([&] {
    tell_all([&](TrainSink& sink) { is_begun_ ? sink.on_resume(info) : sink.on_start(info); });
    is_begun_ = true;
    for (const std::string& note : notes) tell_note(note);
  });
  RunEnd end;
  end.finished = true;
  while (end.finished && state_.epoch <= s_.options.epochs && !out_of_patience()) end.finished = run_epoch(stop);
  end.stopped_early = end.finished && state_.epoch <= s_.options.epochs;
  end.epoch = state_.epoch - 1;
  end.step = state_.step;
  if (state_.best >= 0) {
    end.best = state_.best;
    end.best_epoch = end.epoch - state_.epochs_since_best;
  }
  if (profiler_ && profiler_->steps() > 0) tell_profile();
  group().together([&] {
    if (end.finished && profiler_) tell_note("no step is profiled: after two steps, none with full batches was left");
    if (end.stopped_early) {
      tell_note(fmt::format("stopped early: mean validation accuracy hasn't risen above {:.4f} since epoch {}",
                            state_.best, state_.epoch - 1 - state_.epochs_since_best));
    }
    tell_all([&](TrainSink& sink) { sink.on_end(end); });
  });
  return end.finished;
}

std::vector<std::string> Trainer::State::take_all_notes() {
  const std::vector<std::string> of_ranks = group().gather(fmt::format("{}", fmt::join(session.take_notes(), "\n")));
  std::vector<std::string> notes;
  for (std::size_t rank = 0; rank < of_ranks.size(); ++rank) {
    const std::string prefix = rank == 0 ? "" : group().name(static_cast<int>(rank)) + ": ";
    std::istringstream lines(of_ranks[rank]);
    for (std::string line; std::getline(lines, line);) notes.push_back(prefix + line);
  }
  return notes;
}

bool Trainer::State::out_of_patience() const {
  return s_.options.patience > 0 && state_.epochs_since_best >= s_.options.patience;
}

bool Trainer::State::run_epoch(const std::function<bool()>& stop) {
  epoch_began_ = Clock::now();
  StepResult result;
  take_size();
  loader_->start_epoch(state_.epoch, state_.batch);
  while (step(result)) {
    const Next next = after_step(result, stop);
    if (profiler_ && profiler_->is_complete()) tell_profile();
    if (next != Next::step) save_within_epoch();
    if (next == Next::end) return false;
  }
  std::vector<HeadResult> validation;
  if (validation_ != nullptr) {
    std::optional<std::vector<HeadResult>> results = validate(stop);
    if (!results) {
      save_within_epoch();
      return false;
    }
    validation = std::move(*results);
  }
  finish_epoch(std::move(validation));
  return true;
}

Trainer::State::Next Trainer::State::after_step(const StepResult& result, const std::function<bool()>& stop) {
  Next next = Next::step;
  std::optional<StepHistograms> histograms;
  if (collector_) histograms = collector_->result(result.step, group());
  group().together([&] {
    save_tuning_record();
    tell_all([&](TrainSink& sink) { sink.on_step(result); });
    if (histograms) tell_all([&](TrainSink& sink) { sink.on_histograms(*histograms); });
    if (checkpoint_due()) next = Next::save;
    if (stop && stop()) next = Next::end;
  });
  return static_cast<Next>(group().max(static_cast<std::int64_t>(next)));
}

bool Trainer::State::asks_to_stop(const std::function<bool()>& stop) {
  bool stops = false;
  group().together([&] { stops = stop && stop(); });
  return group().max(stops ? 1 : 0) > 0;
}

bool Trainer::State::step(StepResult& result) {
  result.loss = 0;
  step_sums_.assign(s_.info.heads.size(), {});
  result.learning_rate = schedule_->learning_rate(state_.step + 1);
  step_begin_ = state_;
  collector_.reset();
  if (wants_histograms()) collector_.emplace(s_.parameters->state());
  if (profiler_) profiler_->begin_step(begins_full_step(), s_.exchange_times());
  int batches = 0;
  do {
    if (!train_batch(result)) return false;
    ++batches;
  } while (!at_end_of_step());
  result.loss /= batches;
  s_.finished_steps = ++state_.step;
  ++state_.sums.steps;
  state_.sums.loss += result.loss;
  if (profiler_) profiler_->end_step(step_begin_.sums, state_.sums, s_.exchange_times());
  tell_progress(result);
  return true;
}

bool Trainer::State::train_batch(StepResult& result) {
  const Clock::time_point asked = Clock::now();
  const Batch* batch = next_batch(*loader_);
  if (batch == nullptr) return false;
  const std::vector<std::int64_t> shares = rank_images(state_.batch);
  const double waited = seconds_since(asked);
  state_.sums.training_seconds += waited;
  state_.sums.waited_seconds += waited;

  program::RunInput input;
  input.step = state_.step + 1;
  input.learning_rate = static_cast<float>(result.learning_rate);
  input.momentum = schedule_->momentum(input.step);
  input.batches_before = state_.batch % s_.options.accumulate;
  input.first_image = input.batches_before * s_.options.batch;
  input.rank_images = shares;
  ++state_.batch;
  input.update = at_end_of_step();
  if (collector_) input.histograms = collector_->target();
  const Clock::time_point began = Clock::now();
  const double communicated = s_.communication_seconds();
  std::span<const program::HeadView> heads;
  program::Program* profiled = nullptr;
  try {
    group().together([&] { s_.prepare(batch->size); });
    if (profiler_ && profiler_->is_on()) profiled = &s_.training_program(batch->size);
    const train::Profiling profiling(profiled);
    heads = s_.train(*batch, input);
  } catch (const Error& error) {
    --state_.batch;
    const std::string where = place();
    state_ = step_begin_;  // the step begins again where run() is called again
    throw Error(fmt::format("{}: {}; {}", where, error.what(), last_good()), error.code());
  } catch (...) {  // an exception of a loss of the caller's own
    state_ = step_begin_;
    throw;
  }
  state_.sums.training_seconds += seconds_since(began);
  state_.sums.communication_seconds += s_.communication_seconds() - communicated;
  if (profiled != nullptr) profiler_->add(*profiled);
  count(heads, plan_.whole(state_.batch - 1).size, result);
  return true;
}

std::vector<std::int64_t> Trainer::State::rank_images(std::int64_t index) const {
  std::vector<std::int64_t> images;
  const std::int64_t whole = plan_.whole(index).size;
  for (std::int64_t rank = 0; rank < plan_.world; ++rank) images.push_back(share_of(whole, rank, plan_.world).size);
  return images;
}

bool Trainer::State::begins_full_step() const {
  const std::int64_t all = loader_->batches_per_epoch(), most = std::min(s_.options.accumulate, all);
  const std::int64_t end = state_.batch + most;
  return end <= all && plan_.whole(end - 1).size == s_.whole_batch;
}

void Trainer::State::tell_profile() {
  const StepProfile profile = profiler_->result(group());
  profiler_.reset();
  group().together([&] { tell_all([&](TrainSink& sink) { sink.on_profile(profile); }); });
}

bool Trainer::State::at_end_of_step() const {
  return state_.batch % s_.options.accumulate == 0 || state_.batch == loader_->batches_per_epoch();
}

void Trainer::State::count(std::span<const program::HeadView> heads, std::int64_t images, StepResult& result) {
  train::EpochSums& sums = state_.sums;
  for (std::size_t head = 0; head < heads.size(); ++head) {
    const kernels::LossSums& batch = heads[head].sums;
    result.loss += s_.losses[head].weight * batch.mean();
    step_sums_[head].add(batch);
    sums.loss_sums[head].add(batch);
    sums.correct[head] += batch.correct;
    sums.labelled[head] += batch.labelled;
  }
  sums.images += images;
}

void Trainer::State::tell_progress(StepResult& result) const {
  const train::EpochSums& sums = state_.sums;
  const std::int64_t batches = loader_->batches_per_epoch();
  const std::int64_t all = s_.options.drop_last ? batches * s_.options.batch : plan_.images;
  result.accuracy.resize(s_.info.heads.size());
  result.head_loss.resize(s_.info.heads.size());
  for (std::size_t head = 0; head < result.accuracy.size(); ++head) {
    result.accuracy[head] = train_accuracy(head);
    result.head_loss[head] = step_sums_[head].mean();
  }
  result.step = state_.step;
  result.epoch = state_.epoch;
  result.batch = state_.batch;
  result.batches = batches;
  result.images = sums.images;
  result.images_per_s = rate(sums.images, sums.training_seconds);
  result.seconds_left =
      static_cast<double>(all - sums.images) * sums.training_seconds / static_cast<double>(sums.images);
}

double Trainer::State::train_accuracy(std::size_t head) const {
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  return has_accuracy(s_.graph.heads()[head].kind) ? state_.sums.accuracy(head) : none;
}

const Batch* Trainer::State::next_batch(Loader& loader) {
  try {
    const Batch* batch = nullptr;
    group().together([&] { batch = loader.next(); });
    return batch;
  } catch (...) {
    // Discard the batches of the unfinished step: the run is saved as it was before that step.
    state_ = step_begin_;
    if (!has_folder() || state_.step <= std::max<std::int64_t>(saved_step_, 0)) throw;
    const Error error = as_error(std::current_exception());
    const auto fail = [&](const std::string& saved) {
      group().together([&] { throw Error(fmt::format("{}; {}", error.what(), saved), error.code()); });
    };
    try {
      save_within_epoch();
    } catch (...) {
      fail(fmt::format("the steps before it can't be saved: {}", as_error(std::current_exception()).what()));
    }
    fail(fmt::format("the steps before it are saved, and the run can be resumed once this is mended: {}", last_good()));
  }
  return nullptr;
}

std::optional<std::vector<HeadResult>> Trainer::State::validate(const std::function<bool()>& stop) {
  group().together([&] { finish_updates(); });
  // A stopped validation is continued; after an error all images are validated again.
  std::optional<inference::Evaluation> evaluation = std::exchange(evaluation_, std::nullopt);
  if (!evaluation) {
    evaluation.emplace(s_.info.heads, s_.graph);
    evaluated_batches_ = 0;
  }
  step_begin_ = state_;
  validation_loader_->start_epoch(0, evaluated_batches_);
  while (const Batch* batch = next_batch(*validation_loader_)) {
    try {
      group().together([&] {
        s_.evaluate(*batch, *evaluation);
        save_tuning_record();
      });
    } catch (const Error& error) {
      throw Error(fmt::format("validation after epoch {} (step {}): {}; {}", state_.epoch, state_.step, error.what(),
                              last_good()),
                  error.code());
    }
    ++evaluated_batches_;
    if (asks_to_stop(stop)) {
      evaluation_ = std::move(evaluation);
      return std::nullopt;
    }
  }
  return evaluation->results(group());
}

EpochResult Trainer::State::epoch_result(std::vector<HeadResult> validation) const {
  const train::EpochSums& sums = state_.sums;
  EpochResult result;
  result.epoch = state_.epoch;
  result.train_loss = sums.loss / static_cast<double>(std::max<std::int64_t>(sums.steps, 1));
  for (std::size_t head = 0; head < s_.info.heads.size(); ++head) {
    result.train_head_loss.push_back(sums.loss_sums[head].mean());
    result.train_accuracy.push_back(train_accuracy(head));
  }
  for (const HeadResult& head : validation) result.validation_loss += head.loss;
  result.validation = std::move(validation);
  result.learning_rate = schedule_->learning_rate(state_.step);
  result.images_per_s = rate(sums.images, sums.training_seconds);
  if (sums.training_seconds > 0) {
    result.waited = sums.waited_seconds / sums.training_seconds;
    result.communication_waited = sums.communication_seconds / sums.training_seconds;
  }
  result.seconds = epoch_seconds();
  result.peak_resident_bytes = peak_resident_memory();
  if (s_.options.progressive_resizing.is_used()) result.size = loader_size_;
  return result;
}

void Trainer::State::finish_epoch(std::vector<HeadResult> validation) {
  EpochResult result = epoch_result(std::move(validation));
  train::TrainingState next = state_;
  if (!result.validation.empty()) {
    const double accuracy = mean_accuracy(result.validation);
    result.best = accuracy > state_.best;
    next.best = std::max(state_.best, accuracy);
    next.epochs_since_best = result.best ? 0 : state_.epochs_since_best + 1;
  }
  next.start_epoch(state_.epoch + 1, s_.info.heads.size());

  group().together([&] { require_finite_parameters(); });
  require_equal_parameters();
  // state_ moves to the next epoch only after everything is saved: a caller may call run() again after an error, which
  // then finishes the epoch again.
  if (has_folder()) {
    save([&](const train::ReadSlot& read) {
      if (result.best) folder_->save_best(s_.info, s_.evaluated());
      if (s_.options.keep > 0) folder_->save_epoch(result.epoch, s_.options.keep, s_.info, s_.evaluated());
      for (const auto& sink : file_sinks_) sink->on_epoch(result);
      save_last(next, read);
    });
  }
  state_ = std::move(next);
  group().together([&] { tell_users([&](TrainSink& sink) { sink.on_epoch(result); }); });
}

void Trainer::State::save(const std::function<void(const train::ReadSlot&)>& save) {
  tell_users([](TrainSink& sink) { sink.on_saving(true); });
  try {
    s_.slots().save_on_first_rank(save);
    saved_step_ = state_.step;
  } catch (...) {
    tell_users([](TrainSink& sink) { sink.on_saving(false); });
    throw;
  }
  tell_users([](TrainSink& sink) { sink.on_saving(false); });
}

void Trainer::State::save_within_epoch() {
  group().together([&] { require_finite_parameters(); });
  require_equal_parameters();
  state_.sums.seconds = epoch_seconds();
  epoch_began_ = Clock::now();
  if (has_folder()) save([&](const train::ReadSlot& read) { save_last(state_, read); });
}

void Trainer::State::finish_updates() const {
  try {
    s_.finish_updates();
  } catch (const Error& error) {
    throw Error(fmt::format("after step {} (epoch {}): {}; {}", state_.step, state_.epoch, error.what(), last_good()),
                error.code());
  }
}

void Trainer::State::require_finite_parameters() const {
  finish_updates();
  const std::string found = s_.find_not_finite();
  if (found.empty()) return;
  throw Error(fmt::format("after step {} (epoch {}): parameter '{}' isn't finite; {}", state_.step, state_.epoch, found,
                          last_good()),
              ErrorCode::non_finite);
}

void Trainer::State::require_equal_parameters() const {
  if (group().is_alone()) return;
  const Parameters::State& store = s_.parameters->state();
  const std::uint32_t values = base::crc32c({store.values.data(), store.values.size()});
  const std::vector<std::uint32_t> sums =
      group().all_gather(base::crc32c({store.bf16.data(), store.bf16.size()}, values));
  group().together([&] {
    if (sums[static_cast<std::size_t>(group().rank())] == sums[0]) return;
    throw Error(
        fmt::format("after step {} (epoch {}): the weights differ from those of rank 0, by a fault of this host's "
                    "CPU or memory, or by different CPUs or versions of libraries; {}",
                    state_.step, state_.epoch, last_good()),
        ErrorCode::invalid_data);
  });
}

void Trainer::State::save_last(const train::TrainingState& state, const train::ReadSlot& read) {
  saved_at_ = Clock::now();
  folder_->save_last(s_.info, *s_.parameters, s_.average ? &*s_.average : nullptr,
                     {state, fixed_options_, s_.threads.compute, validation_data_}, read);
}

bool Trainer::State::checkpoint_due() const {
  return folder_ && s_.options.checkpoint_minutes > 0 && seconds_since(saved_at_) >= 60 * s_.options.checkpoint_minutes;
}

void Trainer::State::save_tuning_record() {
  if (!folder_ || s_.tuning_record.all().size() == saved_tuning_entries_) return;
  s_.tuning_record.save(folder_->tuning_record());
  saved_tuning_entries_ = s_.tuning_record.all().size();
}

double Trainer::State::epoch_seconds() const { return state_.sums.seconds + seconds_since(epoch_began_); }

std::string Trainer::State::place() const {
  return fmt::format("step {} (epoch {}, batch {} of {})", state_.step + 1, state_.epoch, state_.batch + 1,
                     loader_->batches_per_epoch());
}

std::string Trainer::State::last_good() const {
  if (!has_folder()) return "no checkpoint is written, since the run has no folder";
  if (saved_step_ < 0) return "there is no checkpoint yet";
  return fmt::format("the last good checkpoint is {}, of step {}", train::RunFolder(s_.options.out).last().string(),
                     saved_step_);
}

}  // namespace facet
