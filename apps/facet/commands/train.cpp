#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>

#include "cli/command.h"
#include "cli/manifests.h"
#include "cli/output_file.h"
#include "cli/paths.h"
#include "cli/ranks.h"
#include "cli/runs.h"
#include "cli/shared_options.h"
#include "cli/stop_signal.h"
#include "cli/terminal.h"
#include "commands/training_report.h"
#include "facet/dataset.h"
#include "facet/error.h"
#include "facet/machine.h"
#include "facet/platform.h"
#include "facet/process_group.h"
#include "facet/run_folder.h"
#include "facet/sampler.h"
#include "facet/sinks.h"
#include "facet/text.h"
#include "facet/threads.h"
#include "facet/training.h"

namespace facet::app {
namespace fs = std::filesystem;
namespace {

/// The values of all options, read before the work begins.
struct Settings {
  std::string train_csv, validation_csv;
  ManifestOptions manifest;
  std::string balanced_head;  ///< of --sample; the column of weights is in `manifest`
  bool skip = false;
  double rank_timeout = 0;  ///< seconds
  ModelInfo info;           ///< its heads and shape are set after the data are read
  RequestedShape shape;     ///< of the model
  TrainOptions training;
};

TrainOptions read_training(const Options& options, const ProcessGroup& ranks) {
  TrainOptions training = read_training_options(options);
  training.processes = ranks;
  training.tuning_cache = read_tuning_cache(options);
  // A run takes its own record from its folder anyway, where the file may not exist yet if the run has just begun.
  for (const char* name : {"tuning.json", "choices.json"}) {  // earlier versions use the latter
    const fs::path own = fs::weakly_canonical(training.out / name);
    if (!training.tuning_record.empty() && fs::weakly_canonical(training.tuning_record) == own) {
      training.tuning_record.clear();
    }
  }
  const bool asks_for_histograms = options.origin("histograms").starts_with("--");  // and not its run.cfg
  if (!asks_for_histograms && !training.tensorboard) training.histogram_every = 0;
  if (training.histogram_every > 0 && !training.tensorboard) {
    throw UsageError(fmt::format("{} is {}; it needs --tensorboard, which shows the histograms",
                                 options.origin("histograms"), training.histogram_every));
  }
  try {
    check_options(training);
  } catch (const Error& error) {
    const std::string recipe = options.text("recipe");
    throw UsageError(recipe.empty() ? error.what()
                                    : fmt::format("{}; some options are those of --recipe {}", error.what(), recipe));
  }
  return training;
}

/// Reads --sample.
void read_sample(const Options& options, Settings& settings) {
  const std::string text = options.text("sample");
  if (text.empty()) return;
  const std::size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon), name = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (name.empty() || (kind != "balanced" && kind != "weights")) {
    throw UsageError(
        fmt::format("{} is '{}'; balanced:HEAD or weights:COLUMN is needed", options.origin("sample"), text));
  }
  (kind == "balanced" ? settings.balanced_head : settings.manifest.weight_column) = name;
}

Settings read_settings(const Options& options, const ProcessGroup& ranks) {
  Settings settings;
  settings.train_csv = options.required("train");
  settings.validation_csv = options.text("validation");
  settings.manifest = read_manifest_options(options);
  read_sample(options, settings);
  settings.skip = skips_bad_images(options);
  settings.rank_timeout = read_rank_timeout(options);
  settings.info.model = options.text("model");
  settings.info.size = read_size(options);
  settings.info.resize = read_resize(options);
  settings.info.normalization = read_normalization(options);
  settings.training = read_training(options, ranks);
  settings.shape = read_shape(options);
  build_requested_model(options, {.heads = {{"any", {"a", "b"}}}, .size = settings.info.size},
                        to_string(settings.shape.trunk));
  return settings;
}

/// Reads the run.cfg of a run to be resumed, unless another config file is given. Returns the file that was read; ""
/// where there is none, as for a run that --resume begins.
fs::path read_run_config(Options& options) {
  if (!options.on("resume")) return {};
  if (options.text("out").empty()) throw UsageError("--resume needs --out, the folder of the run to resume");
  if (options.given("config")) return {};
  fs::path config = fs::path(options.text("out")) / "run.cfg";
  if (!fs::exists(status_of(config))) {
    if (!options.text("train").empty()) return {};
    throw UsageError(fmt::format("--train CSV is needed: {} has no run.cfg that names it", options.text("out")));
  }
  options.read_config(config);
  return config;
}

/// The options of rank 0 on all ranks, completed by the run.cfg of a run to be resumed and by the run's folder.
struct Completed {
  fs::path config;                    ///< the run.cfg that was read, on rank 0
  bool threads_are_recorded = false;  ///< --threads is run.cfg's
};

Completed complete_options(Options& options, const ProcessGroup& ranks) {
  Completed completed;
  ranks.together([&] {
    require_no_arguments(options);
    if (options.given("max-cpu-isa")) {
      set_max_cpu_isa(options.one_of("max-cpu-isa", {"avx2", "avx512", "avx512_bf16"}));
    }
    if (ranks.rank() > 0) return;
    const bool given = options.given("threads");
    completed.config = read_run_config(options);
    completed.threads_are_recorded = !given && !completed.config.empty();
    if (completed.config.empty()) take_recipe(options);  // a run to be resumed has its options
    if (options.text("out").empty()) options.set("out", new_run_folder().string());
  });
  share_options(options, ranks);
  completed.threads_are_recorded = ranks.max(completed.threads_are_recorded ? 1 : 0) != 0;
  return completed;
}

/// A run.cfg has the threads of a process of that run, which may have had more cores than one of these.
void limit_recorded_threads(TrainOptions& training) {
  const ProcessGroup& ranks = training.processes;
  if (ranks.size() == 1) return;
  training.threads = std::min(training.threads, plan_threads(0, 0, ranks.sharing_cores()).compute);
}

ThreadPlan threads_of(const TrainOptions& training) {
  return plan_threads(training.threads, training.loader_threads, training.processes.sharing_cores());
}

/// As pin_if_requested(), which may start the program again, and that can't be done once it has joined others.
void pin_alone(const Options& options, const TrainOptions& training) {
  if (!joins_ranks(options.text("mpi"))) {
    pin_if_requested(options, threads_of(training).compute);
  } else if (options.on("pin")) {
    print_note(
        "--pin has no effect in several processes: their launcher binds each of them (mpirun --bind-to, srun "
        "--cpu-bind), and OMP_PLACES=cores with OMP_PROC_BIND=close binds its threads");
  }
}

/// Prints a line where --resume begins a run, as none was begun or it was stopped before its first checkpoint.
void note_new_run(const TrainOptions& training) {
  if (training.resume && !fs::exists(status_of(last_checkpoint(training.out)))) {
    print_note(fmt::format("no checkpoint in {} yet: the run begins at its first epoch", training.out.string()));
  }
}

void refuse_old_run(const TrainOptions& training) {
  if (!training.resume && holds_run(training.out)) {
    throw Error(fmt::format("{} holds a run already; resume it with --resume, or choose another folder with --out",
                            training.out.string()));
  }
}

/// Writes the final values of the options to run.cfg, so that they give the same run from any folder. Paths of data are
/// absolute; paths in the run's folder are relative to it, so that the folder can be moved.
void write_run_config(Options& options, const Settings& settings, Precision precision, const ThreadPlan& threads) {
  const auto absolute = [](const fs::path& path) {
    return path.empty() ? "" : fs::absolute(path).lexically_normal().string();
  };
  const fs::path& out = settings.training.out;
  for (const char* name : {"train", "validation", "root", "pretrained"}) {
    if (options.given(name)) options.set(name, absolute(options.text(name)));
  }
  options.set("out", ".");
  options.set("tuning-record", "./tuning.json");
  options.set("precision", to_string(precision));
  if (settings.training.processes.size() == 1) {  // otherwise the default depends on the number of processes
    options.set("threads", std::to_string(threads.compute));
    options.set("loader-threads", std::to_string(threads.loader));
  }
  write_file(
      out / "run.cfg",
      fmt::format("# The options of this run. To repeat it: facet train --config {} --out NEW\n{}",
                  shell_word((out / "run.cfg").string()), options.config_text({"recipe", "resume", "config", "help"})));
}

/// The data sets of a run, and the images that were skipped because they can't be read.
struct RunData {
  std::optional<SourceDataset> train, validation;
  std::vector<ListedImages> skipped;
};

/// Checks that all files exist, before hours of training end at a missing one. @throws Error naming the first that is
/// missing.
void require_files(const std::string& csv, const SourceDataset& data) {
  const std::vector<BadImage> missing = data.missing_images();
  if (missing.empty()) return;
  const BadImage& first = missing.front();
  const std::string others = missing.size() == 1 ? "" : fmt::format(" (and {} more)", std::ssize(missing) - 1);
  throw Error(
      fmt::format("{}:{}: {}: {}{}; --root sets the folder of the files, --bad-images skip leaves out such images", csv,
                  first.line, printable(first.name), first.reason, others));
}

/// The heads of the run to be resumed (begun_heads), which rank 0 reads for all.
std::vector<Head> shared_begun_heads(const TrainOptions& training) {
  const ProcessGroup& ranks = training.processes;
  std::vector<std::string> texts;  // of each head, its name and classes
  on_first(ranks, [&] {
    for (const Head& head : begun_heads(training.out)) {
      std::vector<std::string> names{head.name};
      names.insert(names.end(), head.classes.begin(), head.classes.end());
      texts.push_back(packed(names));
    }
  });
  std::vector<Head> heads;
  for (const std::string& text : unpacked(ranks.broadcast(packed(texts)))) {
    const std::vector<std::string> names = unpacked(text);
    heads.push_back({names.front(), {names.begin() + 1, names.end()}});
  }
  return heads;
}

/// The options for reading the training manifest. A run to be resumed keeps its heads and the order of their classes,
/// unless other ones are requested, which the trainer then refuses.
ManifestOptions training_manifest(const Settings& settings) {
  ManifestOptions manifest = settings.manifest;
  if (!settings.training.resume) return manifest;
  const std::vector<Head> heads = shared_begun_heads(settings.training);
  const std::vector<std::string> names = names_of(heads);
  const bool same_heads = manifest.heads.empty() || manifest.heads == names;
  const bool same_label = manifest.label_column.empty() || names == std::vector{manifest.label_column};
  const bool same_classes = std::all_of(heads.begin(), heads.end(), [&](const Head& head) {
    const auto declared = manifest.classes.find(head.name);
    return declared == manifest.classes.end() || declared->second == head.classes;
  });
  if (same_heads && same_label && same_classes) manifest.expected = heads;
  return manifest;
}

RunData open_data(const Settings& settings) {
  const ProcessGroup& ranks = settings.training.processes;
  RunData data;
  data.train.emplace(open_manifest(settings.train_csv, training_manifest(settings), ranks));
  print_out("training    {}: {}\n", settings.train_csv, counted(data.train->size(), "image"));
  print_notes(settings.train_csv, *data.train);
  if (!settings.validation_csv.empty()) {
    ManifestOptions manifest = settings.manifest;
    manifest.expected = data.train->heads();
    manifest.weight_column.clear();
    data.validation.emplace(open_manifest(settings.validation_csv, manifest, ranks));
    print_out("validation  {}: {}\n", settings.validation_csv, counted(data.validation->size(), "image"));
    print_notes(settings.validation_csv, *data.validation);
  }
  ranks.together([&] {
    if (settings.skip || ranks.local_rank() > 0) return;
    require_files(settings.train_csv, *data.train);
    if (data.validation) require_files(settings.validation_csv, *data.validation);
  });
  return data;
}

void leave_out_bad_images(RunData& data, const Settings& settings) {
  const TrainOptions& training = settings.training;
  const ProcessGroup& ranks = training.processes;
  const int threads = ranks.size() > 1 ? threads_of(training).compute : training.threads;
  const auto skip = [&](const std::string& csv, SourceDataset& images) {
    ranks.together([&] { data.skipped.push_back(skip_bad_images(csv, images, threads, stdout, ranks)); });
  };
  skip(settings.train_csv, *data.train);
  if (data.validation) skip(settings.validation_csv, *data.validation);
}

/// @throws UsageError for an ordinal head whose classes are in alphabetical order only because nobody has declared
///   another one.
void require_order(const Settings& settings, const Head& head) {
  const auto is_number = [](const std::string& name) {
    return name.find_first_not_of("0123456789", name.starts_with('-') ? 1 : 0) == std::string::npos;
  };
  if (!head.ordinal || head.classes.size() < 3 || settings.manifest.classes.contains(head.name)) return;
  if (!std::ranges::is_sorted(head.classes) || std::ranges::all_of(head.classes, is_number)) return;
  throw UsageError(fmt::format(
      "--ordinal has {}, whose classes are in alphabetical order: {}; --classes '{}=...' declares their order",
      printable(head.name), list_of(head.classes), head.name));
}

/// Makes the heads that --ordinal and --sample name what they ask for.
/// @throws UsageError when there is no such head, or the order of an ordinal head's classes is unknown.
void set_up_heads(const Options& options, const Settings& settings, std::vector<Head>& heads) {
  set_ordinal(options, heads);
  for (const Head& head : heads) require_order(settings, head);
  const std::string& balanced = settings.balanced_head;
  if (!balanced.empty() && std::ranges::find(heads, balanced, &Head::name) == heads.end()) {
    throw UsageError(fmt::format("{} balances the head {}; the heads are {}", options.origin("sample"),
                                 printable(balanced), list_of(names_of(heads))));
  }
}

/// The sampler that --sample asks for; null where it isn't given.
std::shared_ptr<const Sampler> make_sampler(const Settings& settings, const SourceDataset& train) {
  if (!settings.balanced_head.empty()) {
    return std::make_shared<const WeightedRandomSampler>(class_balanced_weights(train, settings.balanced_head));
  }
  if (settings.manifest.weight_column.empty()) return nullptr;
  std::vector<double> weights;
  for (std::int64_t image = 0; image < train.size(); ++image) weights.push_back(train.weight(image));
  try {
    return std::make_shared<const WeightedRandomSampler>(weights);
  } catch (const Error& error) {
    throw error.with_prefix(fmt::format("{}: column '{}': ", settings.train_csv, settings.manifest.weight_column));
  }
}

/// Prints the ranks, their hosts and cores, nothing where there is one rank; and what this process computes on.
void print_machine(const TrainOptions& training, const ThreadPlan& threads) {
  const ProcessGroup& ranks = training.processes;
  const std::string placed = ranks.placement();
  if (ranks.size() > 1) print_out("ranks       {}\n", placed);
  const int cores = usable_cores();
  const std::string cpu = cpu_model();
  print_out("machine     {}, {} usable{}; computing on {}, {}; decoding on {}\n", cpu_isa(), counted(cores, "core"),
            cpu.empty() ? "" : " of " + cpu, counted(threads.compute, "thread"), placement(threads.compute),
            threads.loader > 0 ? counted(threads.loader, "thread") : "as many threads as needed");
  const std::vector<std::string> problems = ranks.placement_problems(training.threads);
  for (const std::string& problem : problems) print_note(problem);
  const int sharing = ranks.sharing_cores();
  if (problems.empty() && threads.compute * sharing > std::max(cores, sharing)) {
    print_note("more compute threads than cores are slow; --threads 0 uses the cores that there are");
  }
}

/// Tells the handler of signals when steps end and when checkpoints are written.
class SignalSink final : public TrainSink {
 public:
  explicit SignalSink(StopSignal& signal) : signal_(signal) {}
  void on_step(const StepResult& /*result*/) override { signal_.step_ended(); }
  void on_saving(bool begins) override { signal_.saving(begins); }

 private:
  StopSignal& signal_;
};

/// Writes the list of the images that a rank has read with warnings, image-warnings.csv, to the run's folder.
class ImageWarnings final : public TrainSink {
 public:
  ImageWarnings(const Settings& settings, const RunData& data, TrainingReport& report)
      : settings_(settings), data_(data), report_(report) {}

  void on_epoch(const EpochResult& /*result*/) override { update(); }
  void on_end(const RunEnd& /*end*/) override { update(); }

 private:
  /// Writes the list again and prints a line where its length has changed.
  void update() {
    const ProcessGroup& ranks = settings_.training.processes;
    const std::vector<BadImage> train = data_.train->warnings();
    const std::vector<BadImage> validation = data_.validation ? data_.validation->warnings() : std::vector<BadImage>();
    const std::int64_t own = std::ssize(train) + std::ssize(validation);
    const bool is_same = ranks.max(own - own_) == 0;
    own_ = own;
    if (is_same) return;
    std::vector<ListedImages> lists{gather_images(settings_.train_csv, train, ranks)};
    if (data_.validation) lists.push_back(gather_images(settings_.validation_csv, validation, ranks));
    std::int64_t count = 0;
    for (const ListedImages& list : lists) count += std::ssize(list.images);
    if (count == count_ || ranks.rank() > 0) return;
    count_ = count;
    const fs::path file = settings_.training.out / "image-warnings.csv";
    try {
      write_file(file, images_csv(lists));
      report_.on_note(fmt::format("{} read with warnings: {}", counted(count, "image"), file.string()));
    } catch (const Error& error) {  // a full disk, for example, must not end hours of training
      report_.on_note(fmt::format("{} read with warnings; {}", counted(count, "image"), error.what()));
    }
  }

  const Settings& settings_;
  const RunData& data_;
  TrainingReport& report_;
  std::int64_t own_ = 0;    ///< images in this rank's lists
  std::int64_t count_ = 0;  ///< images in the file
};

/// Tells, after the first step, how long each phase of the start took.
class StartReport final : public TrainSink {
 public:
  /// Ends a phase.
  void end(const char* phase) {
    const auto now = std::chrono::steady_clock::now();
    phases_ += fmt::format("{}{} {:.2f}", phases_.empty() ? "" : ", ", phase,
                           std::chrono::duration<double>(now - phase_began_).count());
    phase_began_ = now;
  }

  void on_step(const StepResult& /*result*/) override {
    if (is_told_) return;
    is_told_ = true;
    end("first step");
    print_out("start-up    {:.2f} s: {}\n", std::chrono::duration<double>(phase_began_ - began_).count(), phases_);
    std::fflush(stdout);
  }

 private:
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now(), phase_began_ = began_;
  std::string phases_;
  bool is_told_ = false;
};

/// Trains until the last epoch ends or the user stops the run; returns the exit status.
int train_and_report(Trainer& trainer, StopSignal& signal, const Settings& settings, const RunData& data,
                     StartReport* start) {
  SignalSink signals(signal);
  TrainingReport report;
  ImageWarnings warnings(settings, data, report);
  signal.begin_steps();
  std::vector<TrainSink*> sinks{&signals, &report, &warnings};
  if (start != nullptr) sinks.insert(sinks.begin(), start);
  const bool finished = trainer.run(sinks, [&] { return signal.came(); });

  const std::string out = shell_word(settings.training.out.string());
  if (!finished) {
    const StepResult& last = report.last_step();
    const std::string place =
        last.epoch == 0 ? "" : fmt::format(" in epoch {} after batch {} of {}", last.epoch, last.batch, last.batches);
    print_out("stopped{}; everything is saved\nresume with: facet train --resume --out {}\n", place, out);
    return signal.exit_status();
  }
  if (report.epochs_done() == 0) {
    print_out("the run has finished already; nothing is left to train\n");
  }
  std::string manifest = settings.validation_csv.empty() ? "CSV" : shell_word(settings.validation_csv);
  if (const fs::path& root = settings.manifest.root; !root.empty()) manifest += " --root " + shell_word(root.string());
  if (const std::string& column = settings.manifest.file_column; !column.empty()) {
    manifest += " --file-column " + shell_word(column);
  }
  on_first(settings.training.processes, [&] {
    print_out("done: {}\nevaluate with: facet evaluate {} --data {}\n", find_model(settings.training.out, "").string(),
              out, manifest);
  });
  return 0;
}

int train_in_folder(Options& options, Settings& settings, RunData& data, StopSignal& signal, StartReport& start) {
  const TrainOptions& training = settings.training;
  const ProcessGroup& ranks = training.processes;
  std::optional<Graph> graph;
  ranks.together([&] {
    settings.info.heads = data.train->heads();
    set_up_heads(options, settings, settings.info.heads);
    settings.info.shape = shape_for(options, settings.shape, settings.info.heads);
    graph.emplace(build_model(settings.info));
    freeze_requested(options, *graph);
    settings.training.sampler = make_sampler(settings, *data.train);
    if (ranks.rank() == 0) make_run_folder(training.out);
  });
  print_out("heads\n{}", describe_heads(settings.info.heads, 2));
  if (settings.skip) {
    leave_out_bad_images(data, settings);
    ranks.together([&] { settings.training.sampler = make_sampler(settings, *data.train); });
  }
  const ThreadPlan threads = threads_of(training);
  print_machine(training, threads);
  print_out("model       {} at {}: {} parameters{}\n", settings.info.model, to_string(settings.info.size),
            grouped(graph->trainable_count()), frozen_text(*graph));
  std::fflush(stdout);

  start.end("model");
  ProgressBar tuning;
  settings.training.on_tuning = tuning_progress(tuning);
  Trainer trainer(std::move(*graph), settings.info, *data.train, data.validation ? &*data.validation : nullptr,
                  settings.training);
  tuning.clear();
  if (ranks.rank() == 0) forget_failure(training.out);
  reset_peak_resident_memory();  // the peak of training doesn't include tuning
  print_out("precision   {}\n", to_string(trainer.precision()));
  print_out("memory      {} planned{}, {} available\n", bytes_text(static_cast<double>(trainer.planned_bytes())),
            ranks.size() == 1 ? "" : " in each process", bytes_text(static_cast<double>(available_memory())));
  on_first(ranks, [&] {
    if (settings.skip) write_file(training.out / "skipped.csv", images_csv(data.skipped));
    write_run_config(options, settings, trainer.precision(), threads);
  });
  print_out("run         {}\n", training.out.string());
  std::fflush(stdout);
  start.end("primitives and memory");
  return train_and_report(trainer, signal, settings, data, options.on("verbose") ? &start : nullptr);
}

int run_train(Options& options, const ProcessGroup& ranks) {
  StartReport start;
  StopSignal signal(ranks);
  const Completed completed = complete_options(options, ranks);
  Settings settings;
  ranks.together([&] {
    settings = read_settings(options, ranks);
    if (completed.threads_are_recorded) limit_recorded_threads(settings.training);
    pin_alone(options, settings.training);
    if (!completed.config.empty()) print_out("settings    {}\n", completed.config.string());
    if (ranks.rank() > 0) return;
    refuse_old_run(settings.training);
    note_new_run(settings.training);
  });
  watch_ranks(ranks, settings.rank_timeout);
  start.end("options");
  RunData data = open_data(settings);
  start.end("manifests");
  try {
    return train_in_folder(options, settings, data, signal, start);
  } catch (const std::exception& error) {
    if (ranks.rank() == 0) record_failure(settings.training.out, error);
    throw;
  }
}

}  // namespace

Command train_command() {
  Command command = train_manual();
  command.run_on_ranks = run_train;
  return command;
}

}  // namespace facet::app
