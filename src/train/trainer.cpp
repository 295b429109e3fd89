#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "base/files.h"
#include "data/labels.h"
#include "facet/error.h"
#include "facet/models.h"
#include "facet/text.h"
#include "formats/model_file.h"
#include "graph/op.h"
#include "train/run_options.h"
#include "train/trainer_state.h"

namespace facet {
namespace {

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

/// The names of the models whose weights don't depend on the size of the image.
std::vector<std::string> resizable_models() {
  std::vector<std::string> names;
  for (const std::string& name : model_names()) {
    try {
      graph::with_input(build_model(name, {.heads = {{"any", {"a", "b"}}}, .size = 224}), {3, 192, 192});
      names.push_back(name);
    } catch (const Error&) {
      continue;
    }
  }
  return names;
}

TrainingSession make_session(Graph graph, ModelInfo info, const TrainOptions& options, const Dataset& train) {
  const std::int64_t images = std::max<std::int64_t>(train::epoch_images(options, train), 1);
  std::unique_ptr<TrainingSession::State> state;
  options.processes.together([&] {
    state =
        std::make_unique<TrainingSession::State>(std::move(graph), std::move(info), with_absolute_out(options), images);
  });
  return TrainingSession(std::move(state));
}

}  // namespace

Trainer::State::State(Graph graph, ModelInfo info, const Dataset& train_set, const Dataset* validation_set,
                      const TrainOptions& requested)
    : session(make_session(std::move(graph), std::move(info), requested, train_set)),
      s_(session.state()),
      train_(train_set),
      validation_(validation_set) {
  group().together([&] {
    check_data();
    check_sizes();
    s_.losses = train::make_loss_rules(s_.options, s_.info.heads, &train_);
  });
  // Rank 0 alone has the run's folder.
  std::unique_ptr<const train::LastCheckpoint> last;
  group().on_first_rank([&] {
    note_balanced_classes();
    last = prepare_folder();
  });

  base::ComputeScope scope(s_.threads.compute);
  s_.take_threads(scope);
  const train::TuningObserver observer(s_.tuning_record, scope, s_.options.on_tuning);
  s_.choose_precision(last ? last->record().options.at("precision").get<std::string>() : "");
  group().together([&] {
    fixed_options_ = train::fixed_options(s_.options, s_.precision, train_);
    if (last) train::require_same_options(last->name(), last->record().options, fixed_options_);
    if (validation_ != nullptr) validation_data_ = train::fingerprint(*validation_);
  });
  require_same_in_all();
  s_.compile(batch_sizes());
  note_missing_choices();
  group().together([&] {
    make_loaders();
    s_.require_memory(planned_bytes());
    s_.allocate();
    state_.start_epoch(1, s_.info.heads.size());
  });
  s_.slots().load_on_first_rank([&](const train::WriteSlot& write) {
    if (last) resume(*last, write);
    if (folder_) folder_->remove_stale(last.get());
    save_tuning_record();
  });
  take_progress();
  prepare_sizes();
  if (s_.options.profile_steps > 0) profiler_.emplace(s_.options.profile_steps);
}

std::unique_ptr<const train::LastCheckpoint> Trainer::State::prepare_folder() {
  if (!s_.options.out.empty()) folder_.emplace(s_.options.out);
  // Throw now rather than after the first epoch where a checkpoint can't hold the description of the model.
  formats::to_metadata(folder_ ? folder_->last().string() : "the model", s_.info);
  const bool is_new = !folder_ || !base::exists(s_.options.out);
  std::unique_ptr<const train::LastCheckpoint> last = is_new ? nullptr : open_folder();
  if (!last) s_.open_pretrained();
  if (folder_) {
    // The folder is made only now that the pretrained weights fit. Another run may have taken it meanwhile.
    if (!folder_->is_locked() && open_folder() != nullptr) refuse_run();
    folder_->prepare();
    const SinkNote note = [this](const std::string& text) { tell_users([&](TrainSink& sink) { sink.on_note(text); }); };
    file_sinks_.push_back(csv_sink(s_.options.out, note));
    file_sinks_.push_back(json_sink(s_.options.out, note));
    if (s_.options.tensorboard) file_sinks_.push_back(tensorboard_sink(s_.options.out, note));
  }
  load_tuning_record(last != nullptr);
  return last;
}

void Trainer::State::require_same_in_all() const {
  nlohmann::ordered_json all = fixed_options_;
  all["epochs"] = s_.options.epochs;
  all["patience"] = s_.options.patience;
  all["profile_steps"] = s_.options.profile_steps;
  all["histogram_every"] = s_.options.histogram_every;
  all["whether the run has a folder"] = has_folder();
  all["the hash of the validation set's names and labels"] = validation_data_;
  train::require_same_in_all(group(), all);
}

void Trainer::State::take_progress() {
  if (group().is_alone()) return;
  std::string progress = train::to_record(state_).dump();
  group().broadcast(progress);
  group().together([&] {
    if (!s_.is_first_rank()) {
      state_ = train::from_record(nlohmann::ordered_json::parse(progress), s_.info.heads);
    }
  });
  is_begun_ = group().broadcast(is_begun_);
  saved_step_ = group().broadcast(saved_step_);
  s_.finished_steps = state_.step;
  s_.broadcast_parameters();
}

void Trainer::State::check_data() const {
  data::require_heads(s_.info.heads, train_.heads(), "the training set");
  if (train_.size() == 0) throw Error("the training set holds no image");
  if (epoch_images() < 1) throw Error(fmt::format("the sampler's epochs have {} images", epoch_images()));
  if (s_.options.drop_last && epoch_images() < s_.options.batch) {
    throw Error(fmt::format("drop_last leaves no batch: {} {} images, a batch {}",
                            s_.options.sampler ? "an epoch has" : "the training set holds", epoch_images(),
                            s_.options.batch));
  }
  if (s_.options.augmentation.mixes()) check_mixing();
  if (validation_ == nullptr && s_.options.patience > 0) {
    throw Error(
        fmt::format("patience is {} and there is no validation set; 0 is allowed without one", s_.options.patience));
  }
  if (validation_ == nullptr) return;
  if (std::ranges::none_of(s_.graph.heads(), [](const HeadOutput& head) { return has_accuracy(head.kind); })) {
    throw Error(
        "no head has an accuracy, by which the best epoch of a validation is chosen: train without a validation "
        "set, or with a TrainingSession");
  }
  data::require_heads(s_.info.heads, validation_->heads(), "the validation set");
  if (validation_->size() == 0) throw Error("the validation set holds no image");
}

void Trainer::State::check_mixing() const {
  if (s_.options.batch < 2) throw Error("mixup and cutmix mix the images of a batch; a batch has 1 image");
  for (std::size_t head = 0; head < s_.graph.heads().size(); ++head) {
    const HeadOutput& output = s_.graph.heads()[head];
    if (predicts_class(output.kind) || train_.has_targets(head)) continue;
    throw Error(
        fmt::format("mixup and cutmix mix classes or values; head '{}' predicts no class, and the training set has no "
                    "values for it",
                    output.name));
  }
}

void Trainer::State::note_missing_choices() {
  const std::size_t timed = s_.tuning_record.measured().size();
  if (s_.options.tuning_record.empty() || timed == 0) return;
  s_.note(
      fmt::format("{} lacks {} of the primitives that this run needs, which were timed: it is of another model, "
                  "precision, batch size of a process or number of threads",
                  s_.options.tuning_record.string(), timed));
}

void Trainer::State::note_balanced_classes() {
  for (std::size_t head = 0; head < s_.losses.size(); ++head) {
    const Head& found = s_.info.heads[head];
    const auto requested = s_.options.class_weights.find(found.name);
    if (requested == s_.options.class_weights.end() || !requested->second.balanced) continue;
    std::vector<std::string> weights;
    for (std::size_t c = 0; c < found.classes.size(); ++c) {
      weights.push_back(fmt::format("{} {:.3g}", found.classes[c], s_.losses[head].class_weights[c]));
    }
    s_.note(fmt::format("balanced weights of {}: {}", found.name, list_of(weights)));
  }
}

std::unique_ptr<const train::LastCheckpoint> Trainer::State::open_folder() {
  if (!folder_->lock()) {
    s_.note(fmt::format("the file system of {} has no locks: make sure that no other run uses the folder",
                        s_.options.out.string()));
  }
  const bool saved = base::exists(folder_->last());
  if (!s_.options.resume && (saved || folder_->has_metrics())) refuse_run();
  if (!saved) return nullptr;
  auto last = std::make_unique<const train::LastCheckpoint>(folder_->last());
  if (last->record().is_session) {
    throw Error(fmt::format("{}: it was saved by a TrainingSession, not by a run that can be resumed", last->name()));
  }
  train::require_same_model(last->name(), last->info(), s_.info);
  return last;
}

void Trainer::State::refuse_run() const {
  throw Error(fmt::format("{} holds a run already: resume it, or take another folder", s_.options.out.string()));
}

void Trainer::State::load_tuning_record(bool resumed) {
  const std::filesystem::path& requested = s_.options.tuning_record;
  const bool recorded = folder_ && base::exists(folder_->written_tuning_record());
  if (!requested.empty() && !(resumed && recorded)) {
    s_.tuning_record = program::TuningRecord::load(requested, s_.options.tune);
  } else if (recorded) {
    s_.tuning_record = program::TuningRecord::load(folder_->written_tuning_record(), s_.options.tune);
  }
  s_.read_tuning_cache();
  if (resumed && !recorded) {
    s_.note(fmt::format("{} is missing: primitives are chosen {}, and sums may round otherwise than before",
                        folder_->tuning_record().string(),
                        requested.empty() ? "again" : "as " + requested.string() + " has them"));
  }
}

TrainingSession::State::BatchSizes Trainer::State::batch_sizes() const {
  TrainingSession::State::BatchSizes sizes{.training = {s_.full_batch}, .evaluation = {}};
  const auto add = [&](std::vector<std::int64_t>& shares, std::int64_t images) {
    if (const std::int64_t share = s_.share(images).size; share > 0) shares.push_back(share);
  };
  const std::int64_t last = epoch_images() % s_.options.batch;
  if (epoch_images() > s_.options.batch && !s_.options.drop_last) add(sizes.training, last);
  if (validation_ == nullptr) return sizes;
  const std::int64_t batch = std::min(s_.options.batch, validation_->size());
  add(sizes.evaluation, batch);
  add(sizes.evaluation, validation_->size() % batch);
  sizes.first_evaluation = share_of(batch, 0, group().size()).size;
  return sizes;
}

std::int64_t Trainer::State::planned_bytes() const {
  std::int64_t bytes = s_.planned_bytes() + loader_bytes_;
  if (validation_loader_) bytes += validation_loader_->held_bytes();
  return bytes + (validation_ != nullptr ? confusion_bytes(s_.info.heads, validation_->size()) : 0);
}

LoaderOptions Trainer::State::loading(ImageSize size) const {
  LoaderOptions loading;
  loading.batch = s_.options.batch;
  loading.size = size;
  loading.resize = s_.info.resize;
  loading.threads = s_.options.loader_threads;
  loading.seed = s_.options.seed;
  loading.flip = s_.options.flip;
  loading.augmentation = s_.options.augmentation;
  std::ranges::transform(s_.info.normalization.mean, loading.fill.begin(), [](float mean) {
    return static_cast<std::uint8_t>(std::lround(std::clamp(mean, 0.0F, 1.0F) * 255));
  });
  loading.drop_last = s_.options.drop_last;
  loading.rank = group().rank();
  loading.world = group().size();
  loading.sampler = s_.options.sampler;
  return loading;
}

void Trainer::State::make_loaders() {
  loader_ = std::make_unique<Loader>(train_, loading(s_.info.size));
  loader_size_ = s_.info.size;
  loader_bytes_ = loader_->held_bytes();
  plan_ = {.images = epoch_images(),
           .batch = s_.options.batch,
           .drop_last = s_.options.drop_last,
           .rank = group().rank(),
           .world = group().size()};
  schedule_.emplace(s_.options, steps_per_epoch());
  if (validation_ == nullptr) return;
  validation_loader_.emplace(*validation_, s_.evaluation_loading(validation_->size()));
}

std::vector<Trainer::State::SizedEpochs> Trainer::State::sized_epochs(std::int64_t first) const {
  std::vector<SizedEpochs> all;
  for (std::int64_t epoch = first; epoch <= s_.options.epochs; ++epoch) {
    const ImageSize size = train::training_size(s_.options, s_.info.size, epoch);
    if (all.empty() || all.back().size != size) all.push_back({size, epoch, epoch});
    all.back().last = epoch;
  }
  return all;
}

void Trainer::State::check_sizes() const {
  if (!s_.options.progressive_resizing.is_used()) return;
  for (const SizedEpochs& epochs : sized_epochs(1)) {
    try {
      graph::with_input(s_.graph, {3, epochs.size.height, epochs.size.width});
    } catch (const Error& error) {
      const std::vector<std::string> resizable = resizable_models();
      const bool is_too_small = std::ranges::find(resizable, s_.info.model) != resizable.end();
      throw Error(fmt::format("progressive_resizing needs images of {}, at which the model {} can't be trained: {}; {}",
                              to_string(epochs.size), s_.info.model, error.what(),
                              is_too_small ? "take a larger initial scale"
                                           : "the weights of " + list_of(resizable) + " fit images of any size"));
    }
  }
}

void Trainer::State::prepare_sizes() {
  if (!s_.options.progressive_resizing.is_used()) return;
  const std::vector<SizedEpochs> all = sized_epochs(state_.epoch);
  std::vector<std::string> parts;
  for (const SizedEpochs& epochs : all) {
    parts.push_back(epochs.first == epochs.last
                        ? fmt::format("epoch {} at {}", epochs.first, to_string(epochs.size))
                        : fmt::format("epochs {} to {} at {}", epochs.first, epochs.last, to_string(epochs.size)));
  }
  if (!parts.empty() && s_.is_first_rank()) s_.note("progressive resizing: " + list_of(parts));
  loader_bytes_ *= 2;  // two loaders exist while the size changes
  for (auto epochs = all.rbegin(); epochs != all.rend(); ++epochs) {
    try {
      s_.set_training_size(epochs->size);
    } catch (const Error& error) {
      throw error.with_prefix(fmt::format("progressive_resizing: images of {}: ", to_string(epochs->size)));
    }
  }
  take_size();
  group().together([&] { save_tuning_record(); });
}

void Trainer::State::take_size() {
  if (!s_.options.progressive_resizing.is_used()) return;
  const ImageSize size = train::training_size(s_.options, s_.info.size, state_.epoch);
  s_.set_training_size(size);
  group().together([&] {
    if (loader_size_ == size) return;
    loader_ = std::make_unique<Loader>(train_, loading(size));
    loader_size_ = size;
  });
}

void Trainer::State::resume(const train::LastCheckpoint& last, const train::WriteSlot& write) {
  const train::RunRecord& record = last.record();
  if (record.state.batch > loader_->batches_per_epoch()) {
    throw Error(fmt::format("{}: it stands after batch {} of an epoch that has {}", folder_->last().string(),
                            record.state.batch, loader_->batches_per_epoch()),
                ErrorCode::invalid_data);
  }
  state_ = record.state;
  if (!at_end_of_step()) {
    throw Error(fmt::format("{}: it stands within a step, after batch {} of an epoch, which no run is saved in",
                            folder_->last().string(), state_.batch),
                ErrorCode::invalid_data);
  }
  last.load(*s_.parameters, s_.average ? &*s_.average : nullptr, write);
  s_.finished_steps = saved_step_ = state_.step;
  is_begun_ = true;
  if (!record.validation_data.empty() && record.validation_data != validation_data_ && state_.best >= 0) {
    state_.best = -1;
    state_.epochs_since_best = 0;
    s_.note("the validation set has changed since the last checkpoint: the best epoch and patience start again");
  }
  s_.note(fmt::format("goes on from {} at epoch {}, batch {} (step {})", folder_->last().string(), state_.epoch,
                      state_.batch, state_.step));
  if (record.threads != s_.threads.compute) {
    s_.note(fmt::format("the run was saved with {} compute threads and goes on with {}: sums may round otherwise",
                        record.threads, s_.threads.compute));
  }
}

Trainer::Trainer(Graph graph, ModelInfo info, const Dataset& train, const Dataset* validation,
                 const TrainOptions& options)
    : state_(std::make_unique<State>(std::move(graph), std::move(info), train, validation, options)) {}

Trainer::~Trainer() = default;

TrainingSession& Trainer::session() { return state_->session; }
Precision Trainer::precision() const { return state_->session.precision(); }
std::int64_t Trainer::planned_bytes() const { return state_->planned_bytes(); }
Parameters& Trainer::parameters() {
  state_->finish_updates();
  return state_->session.parameters();
}
Parameters& Trainer::evaluated_parameters() {
  state_->finish_updates();
  return state_->session.evaluated_parameters();
}
bool Trainer::run(const std::vector<TrainSink*>& sinks, const std::function<bool()>& stop) {
  return state_->run(sinks, stop);
}

}  // namespace facet
