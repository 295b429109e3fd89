#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/cpus.h"
#include "base/folder_lock.h"
#include "base/machine.h"
#include "base/pinning.h"
#include "command.h"
#include "facet/error.h"
#include "figures.h"
#include "measured_run.h"
#include "nearest.h"
#include "output_file.h"
#include "print.h"
#include "reproduce_manual.h"
#include "run_folder.h"
#include "shared_options.h"
#include "stop_signal.h"
#include "table1.h"
#include "train/file_system.h"
#include "train/run_folder.h"
#include "train/run_options.h"
#include "training_plan.h"
#include "training_process.h"

namespace facet::app {
namespace fs = std::filesystem;
namespace {

/// What a kill may cost of an epoch.
constexpr const char* checkpoint_minutes = "10";

struct Manifests {
  fs::path train, validation;
};

/// What is asked for, read in full before the work begins.
struct Request {
  Manifests manifests;
  std::vector<Head> heads;
  std::vector<std::string> models;
  TrainOptions training;  ///< those that all models share; `out` is the folder of the table
  int size = 0;
  ResizeMode resize = ResizeMode::squash;
  std::vector<Head> begun_heads;  ///< of the runs that the table's folder holds
};

/// FairFace's own files, or what facet's sample and others call theirs.
Manifests find_manifests(const fs::path& folder) {
  const std::vector<std::pair<std::string, std::string>> names{{"fairface_label_train.csv", "fairface_label_val.csv"},
                                                               {"train.csv", "val.csv"},
                                                               {"train.csv", "validation.csv"}};
  std::vector<std::string> pairs;
  for (const auto& [train, validation] : names) {
    if (train::is_file(folder / train) && train::is_file(folder / validation)) {
      return {folder / train, folder / validation};
    }
    pairs.push_back(train + " and " + validation);
  }
  throw Error(fmt::format("{} {}: it needs {}", folder.string(),
                          train::is_folder(folder) ? "holds no manifests" : "is no folder", fmt::join(pairs, ", or ")));
}

std::vector<std::string> read_models(const Options& options) {
  const std::vector<std::string> all = table1_models();
  const std::vector<std::string> asked = options.words("models");
  for (const std::string& model : asked) {
    if (std::find(all.begin(), all.end(), model) == all.end()) {
      throw UsageError(fmt::format("{} has '{}'; allowed: {}{}", options.origin("models"), model, fmt::join(all, ", "),
                                   did_you_mean(model, all)));
    }
    if (std::count(asked.begin(), asked.end(), model) > 1) {
      throw UsageError(fmt::format("{} has {} twice", options.origin("models"), model));
    }
  }
  return asked;
}

/// That the runs will find cores to pin to, or each would fail by itself.
void require_pinnable(const Options& options, const TrainOptions& training) {
  try {
    base::require_pinnable(train::plan_threads(training).compute);
  } catch (const Error& error) {
    throw UsageError(fmt::format("{}: {}", options.origin("pin"), error.what()));
  }
}

Request read_request(const Options& options) {
  Request request;
  request.models = read_models(options);
  request.size = static_cast<int>(options.integer("size", 1, 16384));
  request.resize = read_resize(options);
  TrainOptions& training = request.training;
  training.epochs = options.integer("epochs", 1, 1'000'000);
  training.batch = options.integer("batch", 1, 65536);
  training.seed = static_cast<std::uint64_t>(options.integer("seed", 0));
  training.precision = read_precision(options);
  training.threads = read_threads(options, "threads");
  training.loader_threads = read_threads(options, "loader-threads");
  training.tune = !options.on("no-tune");
  training.choice_cache = read_choice_cache(options);
  training.out = options.text("out");
  for (const std::string& model : request.models) {
    try {
      build_model(model, {.heads = {{"any", {"a", "b"}}}, .size = request.size});
    } catch (const Error& error) {
      throw UsageError(fmt::format("{} is {}: {}", options.origin("size"), request.size, error.what()));
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

/// What a model's run came to so far. @throws Error when the run is another than the one asked for.
MeasuredRow read_row(const Request& request, const std::string& model, const Dataset& data) {
  const fs::path folder = request.training.out / model;
  MeasuredRow row;
  if (const train::RunFolder run(folder); train::is_there(run.last())) {
    const train::LastCheckpoint last(run.last());
    const train::RunRecord& record = last.record();
    const std::string& file = last.name();
    PrecisionChoice asked = request.training.precision;
    if (asked == PrecisionChoice::automatic) asked = parse_precision(record.options.at("precision").get<std::string>());
    const Precision precision = asked == PrecisionChoice::bf16 ? Precision::bf16 : Precision::f32;
    train::require_same_model(file, last.info(),
                              {.model = model, .size = request.size, .resize = request.resize, .heads = request.heads});
    train::require_same_options(file, record.options, train::fixed_options(request.training, precision, data));
    row = measured_run(folder, record, request.heads);
    if (row.epochs > request.training.epochs) {
      throw Error(fmt::format("{}: the run has {}, asked for are {}; as many or more are allowed", file,
                              counted(row.epochs, "epoch"), request.training.epochs));
    }
  }
  if (row.epochs < request.training.epochs) row.failure = read_failure(folder);
  try {
    row.parameters = build_model(model, {.heads = request.heads, .size = request.size}).trainable_count();
  } catch (const Error&) {
    // Not asked for, and not of this size: its row stays empty.
  }
  return row;
}

/// Whether the batch doesn't fit into memory unless some is saved; by the plan of f32 where the precision is still to
/// be measured, since f32 is timed then.
bool must_save_memory(const Request& request, const std::string& model, const Dataset& data) {
  const Graph graph = build_model(model, {.heads = request.heads, .size = request.size});
  const Precision precision = request.training.precision == PrecisionChoice::bf16 ? Precision::bf16 : Precision::f32;
  const std::int64_t batch = std::min(request.training.batch, data.size());
  try {
    const TrainingPlan plan = plan_training(graph, batch, precision, false, request.training.choice_cache);
    return static_cast<std::int64_t>(plan.memory.total()) > base::available_memory();
  } catch (const Error&) {
    return false;  // what can't be planned can't be trained, and is the model's own failure
  }
}

std::vector<std::string> training_words(const Request& request, const Options& options, const std::string& model) {
  std::vector<std::string> heads;
  for (const Head& head : request.heads) heads.push_back(head.name);
  std::vector<std::string> words{"train",
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
  for (const Head& head : request.begun_heads) {  // this build might choose others for a model that is still to begin
    const std::string classes = fmt::format("{}", fmt::join(head.classes, ","));
    if (std::ranges::count(classes, ',') + 1 != std::ssize(head.classes)) continue;  // a name has a comma of its own
    words.push_back(fmt::format("--classes={}={}", head.name, classes));
  }
  for (const char* name : {"choice-cache", "file-column", "label-column"}) {
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
std::string failure_of(const ProcessEnd& end, const std::string& told) {
  if (end.signal == SIGKILL) return "killed (signal 9), as the kernel does when memory runs out";
  if (end.signal != 0) return fmt::format("ended by signal {}", end.signal);
  return told.empty() ? fmt::format("exit status {}", end.status) : told;
}

MeasuredRow& row_of(Table1& table, const std::string& model) {
  const std::vector<std::string> all = table1_models();
  return table.rows[static_cast<std::size_t>(std::find(all.begin(), all.end(), model) - all.begin())];
}

/// Trains the models that are asked for, one after the other, writing the table after each. Returns whether it came to
/// the end without being stopped.
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
      print_out("note        the batch doesn't fit into memory as it is: trained with --save-memory\n");
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

/// Those of a table's first run.
std::vector<Head> heads_of_table(const Request& request) {
  for (const std::string& model : table1_models()) {
    if (std::vector<Head> heads = begun_heads(request.training.out / model); !heads.empty()) return heads;
  }
  return {};
}

int run(Options& options) {
  const std::string what = only_argument(options, "table1");
  if (what != "table1") throw UsageError(fmt::format("'{}' is nothing to reproduce; table1 is", what));
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
  const base::FolderLock lock(out);
  write_table(out, table);

  base::leave_openmp_place();  // or the runs, which begin with this process's affinity mask, would share one core
  HeldSignals signals;
  const bool finished = train_models(request, options, data, signals, table);
  const int stopped = signals.exit_status();
  signals.forget();
  print_out("\n{}\nwritten to {}: table1.md, table1.csv, table1.json\n", markdown(table), out.string());
  if (!finished) {
    print_out("stopped; the same command goes on\n");
    return stopped;
  }
  if (const std::vector<std::string> failed = failed_models(request, table); !failed.empty()) {
    throw Error(fmt::format("{} failed: {}; the table says why, and the same command tries again",
                            counted(std::ssize(failed), "model"), fmt::join(failed, ", ")));
  }
  return 0;
}

}  // namespace

Command reproduce_command() {
  Command command = reproduce_manual();
  command.run = run;
  return command;
}

}  // namespace facet::app
