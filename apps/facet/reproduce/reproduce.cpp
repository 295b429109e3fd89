#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "cli/command.h"
#include "cli/manifests.h"
#include "cli/options.h"
#include "cli/output_file.h"
#include "cli/paths.h"
#include "cli/runs.h"
#include "cli/shared_options.h"
#include "cli/stop_signal.h"
#include "cli/terminal.h"
#include "facet/error.h"
#include "facet/files.h"
#include "facet/machine.h"
#include "facet/run_folder.h"
#include "facet/summary.h"
#include "facet/threads.h"
#include "reproduce/table1.h"
#include "reproduce/training_process.h"

namespace facet::app {

Command reproduce_manual() {
  Command command;
  command.name = "reproduce";
  command.summary = "train the paper's five models and print them in one table";
  command.usage = "table1 --data DIR [--out DIR] [options]";
  command.description = fmt::format(
      "Trains the models of the paper's Table 1 on one data set, with the paper's settings (Adam with a learning rate "
      "of 1e-4, a batch size of 64 and 100 epochs), and prints a table of accuracies, parameters, images/s, peak "
      "memory and hours beside the paper's figures. The models are {}. The paper's figures are for FairFace: only a "
      "table made with FairFace's images, which don't come with facet, can be compared with them.\n\n"
      "A separate facet train process trains each model, in the folder of --out that has the model's name. After each "
      "model, the table is written to --out as table1.md, table1.csv and table1.json. The same command continues an "
      "earlier one that was stopped or killed, also within a model; finished models aren't trained again, and --epochs "
      "may be raised. If a model fails, the others are still trained. A model whose batch doesn't fit into memory is "
      "trained with --save-memory, and its row says so.",
      fmt::join(table1_models(), ", "));
  OptionGroup data{"Data",
                   {{.name = "data",
                     .argument = "DIR",
                     .help = "folder with the manifests: fairface_label_train.csv and fairface_label_val.csv (with "
                             "FairFace's folders train and val), or train.csv with val.csv or validation.csv"},
                    heads_option()}};
  for (Option& option : column_options()) data.options.push_back(std::move(option));
  command.groups = {
      std::move(data),
      {"Models and learning",
       {{.name = "models",
         .argument = "A,B,...",
         .help = "models to train now; the rows of the others show the results that --out already holds",
         .fallback = fmt::format("{}", fmt::join(table1_models(), ","))},
        size_option(),
        resize_option(),
        training_option("epochs", "epochs of each model"),
        training_option("batch", "batch size, in images"),
        training_option("seed", "seed of every random draw")}},
      {"Computing",
       {training_option("precision"), training_option("threads", "compute threads, as in facet train"),
        training_option("loader-threads"), pin_option(),
        training_option("no-tune", "don't time candidate primitives before a model's first step"),
        training_option("tuning-cache")}},
      {"Results",
       {{.name = "out", .argument = "DIR", .help = "folder of the runs and the table", .fallback = "runs/table1"}}}};
  command.examples = {{"FairFace, as in the paper", "facet reproduce table1 --data fairface --out runs/table1"},
                      {"a first look, two models only",
                       "facet reproduce table1 --data faces --epochs 5 --models reference,mobilenet_v2"}};
  command.exit_status = {{"75", "stopped by SIGTERM, SIGHUP or SIGUSR1; the same command continues"},
                         {"130", "stopped by Ctrl-C (SIGINT); the same command continues"}};
  command.prints_progress = true;
  return command;
}

namespace fs = std::filesystem;
namespace {

/// The minutes between checkpoints: a kill loses at most this much training.
constexpr const char* checkpoint_minutes = "10";

struct Manifests {
  fs::path train, validation;
};

/// The values of all options, read before the work begins.
struct Request {
  Manifests manifests;
  std::vector<Head> heads;
  std::vector<std::string> models;
  TrainOptions training;  ///< the options that all models share; `out` is the folder of the table
  ImageSize size = 224;
  ResizeMode resize = ResizeMode::squash;
  std::vector<Head> begun_heads;  ///< the heads of the runs that the table's folder holds
};

/// Finds the manifests by the names of FairFace's own files, or of those of facet's sample and other data sets.
Manifests find_manifests(const fs::path& folder) {
  const std::vector<std::pair<std::string, std::string>> names{{"fairface_label_train.csv", "fairface_label_val.csv"},
                                                               {"train.csv", "val.csv"},
                                                               {"train.csv", "validation.csv"}};
  std::vector<std::string> pairs;
  for (const auto& [train, validation] : names) {
    if (is_file(folder / train) && is_file(folder / validation)) {
      return {folder / train, folder / validation};
    }
    pairs.push_back(train + " and " + validation);
  }
  throw Error(fmt::format("{} {}; {} are needed", folder.string(),
                          fs::is_directory(status_of(folder)) ? "has no manifests" : "is not a folder",
                          fmt::join(pairs, ", or ")));
}

std::vector<std::string> read_models(const Options& options) {
  const std::vector<std::string> all = table1_models();
  const std::vector<std::string> models = options.words("models");
  for (const std::string& model : models) {
    if (std::find(all.begin(), all.end(), model) == all.end()) {
      throw UsageError(fmt::format("{} has '{}'; allowed: {}{}", options.origin("models"), model, fmt::join(all, ", "),
                                   did_you_mean(model, all)));
    }
    if (std::count(models.begin(), models.end(), model) > 1) {
      throw UsageError(fmt::format("{} has {} twice", options.origin("models"), model));
    }
  }
  return models;
}

/// Checks that the runs will find cores to pin to, since otherwise each run would fail.
void require_pinnable(const Options& options, const TrainOptions& training) {
  try {
    facet::require_pinnable(plan_threads(training.threads, training.loader_threads).compute);
  } catch (const Error& error) {
    throw UsageError(fmt::format("{}: {}", options.origin("pin"), error.what()));
  }
}

Request read_request(const Options& options) {
  Request request;
  request.models = read_models(options);
  request.size = read_size(options);
  request.resize = read_resize(options);
  TrainOptions& training = request.training;
  training = read_training_options(options);
  training.tuning_cache = read_tuning_cache(options);
  training.out = options.text("out");
  for (const std::string& model : request.models) {
    try {
      build_model(model, {.heads = {{"any", {"a", "b"}}}, .size = request.size});
    } catch (const Error& error) {
      throw UsageError(fmt::format("{} is {}: {}", options.origin("size"), options.text("size"), error.what()));
    }
  }
  request.manifests = find_manifests(options.required("data"));
  if (options.on("pin")) require_pinnable(options, training);
  return request;
}

Table1 empty_table(const Request& request) {
  Table1 table;
  table.train = request.manifests.train.string();
  table.validation = request.manifests.validation.string();
  for (const Head& head : request.heads) table.heads.push_back(head.name);
  table.epochs = request.training.epochs;
  table.batch = request.training.batch;
  table.size = request.size;
  table.resize = to_string(request.resize);
  table.seed = request.training.seed;
  table.rows.resize(printed_table1().size());
  return table;
}

/// The results of a model's run so far. @throws Error when the run's options differ from the requested ones.
MeasuredRow read_row(const Request& request, const std::string& model, const Dataset& data) {
  const fs::path folder = request.training.out / model;
  MeasuredRow row;
  if (const std::optional<RunStatus> status = read_run_status(folder)) {
    const ModelInfo info{.model = model, .size = request.size, .resize = request.resize, .heads = request.heads};
    require_same_run(folder, info, request.training, data);
    row = measured_run(folder, *status);
    if (row.epochs > request.training.epochs) {
      throw Error(fmt::format("{}: the run has {}, but {} are requested; at least as many are needed",
                              last_checkpoint(folder).string(), counted(row.epochs, "epoch"), request.training.epochs));
    }
  }
  if (row.epochs < request.training.epochs) row.failure = read_failure(folder);
  try {
    row.parameters = build_model(model, {.heads = request.heads, .size = request.size}).trainable_count();
  } catch (const Error&) {
    // The model isn't requested and can't have this size: its row stays empty.
  }
  return row;
}

/// Whether the batch doesn't fit into memory without --save-memory. Where the precision is to be measured, the plan is
/// that of f32, since f32 is timed as well.
bool must_save_memory(const Request& request, const std::string& model, const Dataset& data) {
  const Graph graph = build_model(model, {.heads = request.heads, .size = request.size});
  const Precision precision = request.training.precision == PrecisionChoice::bf16 ? Precision::bf16 : Precision::f32;
  const std::int64_t batch = std::min(request.training.batch, data.size());
  try {
    const TrainingPlan plan = plan_training(graph, batch, precision, false, request.training.tuning_cache);
    return static_cast<std::int64_t>(plan.memory.total()) > available_memory();
  } catch (const Error&) {
    return false;  // the training of this model then fails and reports the error
  }
}

std::vector<std::string> training_words(const Request& request, const Options& options, const std::string& model) {
  std::vector<std::string> heads;
  for (const Head& head : request.heads) heads.push_back(head.name);
  std::vector<std::string> words{"train",
                                 "--mpi=off",
                                 "--resume",
                                 "--train=" + request.manifests.train.string(),
                                 "--validation=" + request.manifests.validation.string(),
                                 fmt::format("--heads={}", fmt::join(heads, ",")),
                                 "--model=" + model,
                                 "--out=" + (request.training.out / model).string(),
                                 std::string("--checkpoint-minutes=") + checkpoint_minutes,
                                 fmt::format("--no-tune={}", request.training.tune ? "no" : "yes"),
                                 fmt::format("--pin={}", options.on("pin") ? "yes" : "no")};
  for (const char* name : {"epochs", "batch", "size", "resize", "seed", "precision", "threads", "loader-threads"}) {
    words.push_back(fmt::format("--{}={}", name, options.text(name)));
  }
  for (const Head& head : request.begun_heads) {  // this version might choose other classes for a new run
    const std::string classes = fmt::format("{}", fmt::join(head.classes, ","));
    if (std::ranges::count(classes, ',') + 1 != std::ssize(head.classes)) continue;  // a class's name contains a comma
    words.push_back(fmt::format("--classes={}={}", head.name, classes));
  }
  for (const char* name : {"tuning-cache", "file-column", "label-column"}) {
    if (options.given(name)) words.push_back(fmt::format("--{}={}", name, options.text(name)));
  }
  return words;
}

void write_table(const fs::path& folder, const Table1& table) {
  write_file(folder / "table1.md", markdown(table));
  write_file(folder / "table1.csv", csv(table));
  write_file(folder / "table1.json", json(table));
}

/// Why a model's training ended before its last epoch.
std::string failure_of(const ProcessEnd& end, const std::string& message) {
  if (end.signal == SIGKILL) return "killed (signal 9), as the kernel does when memory runs out";
  if (end.signal != 0) return fmt::format("ended by signal {}", end.signal);
  return message.empty() ? fmt::format("exit status {}", end.status) : message;
}

MeasuredRow& row_of(Table1& table, const std::string& model) {
  const std::vector<std::string> all = table1_models();
  return table.rows[static_cast<std::size_t>(std::find(all.begin(), all.end(), model) - all.begin())];
}

/// Trains the requested models one after the other and writes the table after each. Returns false when it was stopped.
bool train_models(const Request& request, const Options& options, const Dataset& data, const HeldSignals& signals,
                  Table1& table) {
  for (std::size_t i = 0; i < request.models.size(); ++i) {
    const std::string& model = request.models[i];
    MeasuredRow& row = row_of(table, model);
    print_out("\n{} ({} of {})\n", model, i + 1, request.models.size());
    if (row.epochs >= request.training.epochs) {
      print_out("trained already: {}\n", counted(row.epochs, "epoch"));
      continue;
    }
    std::vector<std::string> words = training_words(request, options, model);
    const bool saves_memory = must_save_memory(request, model, data);
    if (saves_memory) {
      words.emplace_back("--save-memory");
      print_note("the batch doesn't fit into memory; training uses --save-memory");
    }
    std::fflush(stdout);
    if (signals.came()) return false;
    const ProcessEnd end = run_program(words, signals);
    const bool stopped = signals.came() || end.status == StopSignal::interrupted || end.status == StopSignal::requeue;
    row = read_row(request, model, data);
    row.save_memory |= saves_memory;
    if (row.epochs < request.training.epochs && !stopped) row.failure = failure_of(end, row.failure);
    write_table(request.training.out, table);
    if (stopped) return false;
  }
  return true;
}

std::vector<std::string> failed_models(const Request& request, Table1& table) {
  std::vector<std::string> failed;
  for (const std::string& model : request.models) {
    if (!row_of(table, model).failure.empty()) failed.push_back(model);
  }
  return failed;
}

/// The heads of the first run in the table's folder; empty where there is none.
std::vector<Head> heads_of_table(const Request& request) {
  for (const std::string& model : table1_models()) {
    if (std::vector<Head> heads = begun_heads(request.training.out / model); !heads.empty()) return heads;
  }
  return {};
}

int run_reproduce(Options& options) {
  const std::string what = only_argument(options, "table1");
  if (what != "table1") throw UsageError(fmt::format("'{}' can't be reproduced; allowed: table1", what));
  Request request = read_request(options);
  ManifestOptions manifest;
  manifest.heads = options.words("heads");
  read_columns(options, manifest);
  request.begun_heads = heads_of_table(request);
  if (manifest.heads.empty() && manifest.label_column.empty()) manifest.expected = request.begun_heads;
  const ManifestDataset data(request.manifests.train, manifest);
  request.heads = manifest.expected = data.heads();
  const ManifestDataset validation(request.manifests.validation, manifest);
  print_out("training    {}: {}\nvalidation  {}: {}\n", request.manifests.train.string(), counted(data.size(), "image"),
            request.manifests.validation.string(), counted(validation.size(), "image"));

  Table1 table = empty_table(request);
  const std::vector<std::string> models = table1_models();
  for (std::size_t i = 0; i < models.size(); ++i) table.rows[i] = read_row(request, models[i], data);
  const fs::path& out = request.training.out;
  make_run_folder(out);
  const FolderLock lock(out);
  write_table(out, table);

  leave_openmp_place();  // else the runs, which inherit this process's affinity mask, would share one core
  HeldSignals signals;
  const bool finished = train_models(request, options, data, signals, table);
  const int stopped = signals.exit_status();
  signals.forget();
  print_out("\n{}\nwritten to {}: table1.md, table1.csv, table1.json\n", markdown(table), out.string());
  if (!finished) {
    print_out("stopped; the same command continues\n");
    return stopped;
  }
  if (const std::vector<std::string> failed = failed_models(request, table); !failed.empty()) {
    throw Error(fmt::format("{} failed: {}; the table gives the reasons, and the same command tries again",
                            counted(std::ssize(failed), "model"), fmt::join(failed, ", ")));
  }
  return 0;
}

}  // namespace

Command reproduce_command() {
  Command command = reproduce_manual();
  command.run = run_reproduce;
  return command;
}

}  // namespace facet::app
