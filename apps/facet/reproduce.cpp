#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "base/machine.h"
#include "command.h"
#include "config_file.h"
#include "facet/error.h"
#include "figures.h"
#include "manifests.h"
#include "nearest.h"
#include "output_file.h"
#include "run_folder.h"
#include "shared_options.h"
#include "stop_signal.h"
#include "table1.h"
#include "train/metrics_files.h"
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
};

/// FairFace's own files, or what facet's sample and others call theirs.
Manifests find_manifests(const fs::path& folder) {
  const std::vector<std::pair<std::string, std::string>> names{{"fairface_label_train.csv", "fairface_label_val.csv"},
                                                               {"train.csv", "val.csv"},
                                                               {"train.csv", "validation.csv"}};
  std::vector<std::string> pairs;
  for (const auto& [train, validation] : names) {
    if (fs::is_regular_file(folder / train) && fs::is_regular_file(folder / validation)) {
      return {folder / train, folder / validation};
    }
    pairs.push_back(train + " and " + validation);
  }
  throw Error(fmt::format("{} {}: it needs {}", folder.string(),
                          fs::is_directory(folder) ? "holds no manifests" : "is no folder", fmt::join(pairs, ", or ")));
}

std::vector<std::string> table_models() {
  std::vector<std::string> names;
  for (const PrintedRow& row : printed_table1()) names.push_back(row.model);
  return names;
}

std::vector<std::string> read_models(const Options& options) {
  const std::vector<std::string> all = table_models();
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

Request read_request(const Options& options) {
  Request request;
  request.models = read_models(options);
  request.size = static_cast<int>(options.integer("size", 1, 16384));
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
  table.seed = request.training.seed;
  table.rows.resize(printed_table1().size());
  return table;
}

/// Over the heads that have labels; below 0 when none has.
double mean_accuracy(const train::EpochMetrics& epoch) {
  double sum = 0;
  int heads = 0;
  for (const auto& [head, accuracy] : epoch.validation_accuracy) {
    if (!accuracy) continue;
    sum += *accuracy;
    ++heads;
  }
  return heads == 0 ? -1 : sum / heads;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : std::midpoint(values[half - 1], values[half]);
}

void read_epochs(const fs::path& run, std::vector<train::EpochMetrics> epochs, MeasuredRow& row) {
  // A kill may have left the line of an epoch that no checkpoint stands behind: it will be trained again.
  std::erase_if(epochs, [&](const train::EpochMetrics& epoch) { return epoch.epoch > row.epochs; });
  if (std::ssize(epochs) != row.epochs) {
    throw Error(fmt::format("{} has {}, the run's checkpoint stands after {}", (run / "metrics.jsonl").string(),
                            counted(std::ssize(epochs), "epoch"), row.epochs));
  }
  if (epochs.empty()) return;
  const auto& best = *std::max_element(epochs.begin(), epochs.end(), [](const auto& one, const auto& other) {
    return mean_accuracy(one) < mean_accuracy(other);
  });
  row.best_epoch = best.epoch;
  row.accuracy = best.validation_accuracy;
  std::vector<double> rates;
  for (const train::EpochMetrics& epoch : epochs) {
    rates.push_back(epoch.images_per_s);
    row.seconds += epoch.seconds;
    row.peak_resident_bytes = std::max(row.peak_resident_bytes, epoch.peak_resident_bytes);
  }
  row.images_per_s = median(std::move(rates));
}

/// Whether a run was told to save memory.
bool saves_memory(const fs::path& run) {
  if (!fs::exists(run / "run.cfg")) return false;
  const std::vector<ConfigEntry> entries = read_config_file(run / "run.cfg");
  return std::any_of(entries.begin(), entries.end(),
                     [](const ConfigEntry& entry) { return entry.name == "save-memory" && entry.value == "yes"; });
}

/// What a model's run came to so far. @throws Error when the run is another than the one asked for.
MeasuredRow read_row(const Request& request, const std::string& model, const Dataset& data) {
  const fs::path folder = request.training.out / model;
  MeasuredRow row;
  try {
    row.parameters = build_model(model, {.heads = request.heads, .size = request.size}).trainable_count();
  } catch (const Error&) {
    // Not asked for, and not of this size: its row stays empty.
  }
  row.failure = read_failure(folder);
  const train::RunFolder run(folder);
  if (!fs::exists(run.last())) return row;
  const train::RunRecord record = run.read_record();
  row.precision = record.options.at("precision").get<std::string>();
  const bool automatic = request.training.precision == PrecisionChoice::automatic;
  const PrecisionChoice asked = automatic ? parse_precision(row.precision) : request.training.precision;
  const Precision precision = asked == PrecisionChoice::bf16 ? Precision::bf16 : Precision::f32;
  train::require_same_model(run.last().string(), run.read_info(), {model, request.size, request.heads, {}});
  train::require_same_options(run.last().string(), record.options,
                              train::fixed_options(request.training, precision, data));
  row.epochs = record.state.epoch - 1;
  if (row.epochs > request.training.epochs) {
    throw Error(fmt::format("{}: the run has {}, asked for are {}; as many or more are allowed", run.last().string(),
                            counted(row.epochs, "epoch"), request.training.epochs));
  }
  read_epochs(folder, train::read_metrics(folder), row);
  row.save_memory = saves_memory(folder);
  return row;
}

/// Whether the batch doesn't fit into memory unless some is saved; by the plan of f32 where the precision is still to
/// be measured, since f32 is timed then.
bool must_save_memory(const Request& request, const std::string& model, const Dataset& data) {
  const Graph graph = build_model(model, {.heads = request.heads, .size = request.size});
  const Precision precision = request.training.precision == PrecisionChoice::bf16 ? Precision::bf16 : Precision::f32;
  const TrainingPlan plan = plan_training(graph, std::min(request.training.batch, data.size()), precision, false,
                                          request.training.choice_cache);
  return static_cast<std::int64_t>(plan.memory.total()) > base::available_memory();
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
                                 fmt::format("--no-tune={}", request.training.tune ? "no" : "yes")};
  for (const char* name : {"epochs", "batch", "size", "seed", "precision", "threads", "loader-threads"}) {
    words.push_back(fmt::format("--{}={}", name, options.text(name)));
  }
  if (options.given("choice-cache")) words.push_back("--choice-cache=" + options.text("choice-cache"));
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

/// Trains the models that are asked for, one after the other, writing the table after each. Returns whether it came to
/// the end without being stopped.
bool train_models(const Request& request, const Options& options, const Dataset& data, const HeldSignals& signals,
                  Table1& table) {
  const std::vector<std::string> all = table_models();
  for (std::size_t i = 0; i < request.models.size(); ++i) {
    const std::string& model = request.models[i];
    MeasuredRow& row = table.rows[static_cast<std::size_t>(std::find(all.begin(), all.end(), model) - all.begin())];
    fmt::print("\n{} ({} of {})\n", model, i + 1, request.models.size());
    if (row.epochs >= request.training.epochs) {
      fmt::print("trained already: {}\n", counted(row.epochs, "epoch"));
      continue;
    }
    std::vector<std::string> words = training_words(request, options, model);
    if (must_save_memory(request, model, data)) {
      words.emplace_back("--save-memory");
      fmt::print("note        the batch doesn't fit into memory as it is: trained with --save-memory\n");
    }
    std::fflush(stdout);
    if (signals.came()) return false;
    const ProcessEnd end = run_program(words, signals);
    row = read_row(request, model, data);
    if (row.epochs < request.training.epochs && !signals.came()) row.failure = failure_of(end, row.failure);
    write_table(request.training.out, table);
    if (signals.came() || end.status == StopSignal::exit_status) return false;
  }
  return true;
}

std::string failed_models(const Table1& table) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    const MeasuredRow& row = table.rows[i];
    if (row.epochs < table.epochs && !row.failure.empty()) names.push_back(printed_table1()[i].model);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

int run(Options& options) {
  const std::string& what = only_argument(options, "table1");
  if (what != "table1") throw UsageError(fmt::format("'{}' is nothing to reproduce; table1 is", what));
  Request request = read_request(options);
  ManifestOptions manifest;
  manifest.heads = options.words("heads");
  const ManifestDataset data(request.manifests.train, manifest);
  request.heads = manifest.expected = data.heads();
  const ManifestDataset validation(request.manifests.validation, manifest);
  fmt::print("training    {}: {}\nvalidation  {}: {}\nheads\n{}", request.manifests.train.string(),
             counted(data.size(), "image"), request.manifests.validation.string(), counted(validation.size(), "image"),
             describe_heads(request.heads, 2));

  Table1 table = empty_table(request);
  const std::vector<std::string> models = table_models();
  for (std::size_t i = 0; i < models.size(); ++i) table.rows[i] = read_row(request, models[i], data);
  const fs::path& out = request.training.out;
  make_run_folder(out);
  write_table(out, table);

  HeldSignals signals;
  const bool finished = train_models(request, options, data, signals, table);
  signals.forget();
  fmt::print("\n{}\nwritten to {}: table1.md, table1.csv, table1.json\n", markdown(table), out.string());
  if (!finished) {
    fmt::print("stopped; the same command goes on\n");
    return StopSignal::exit_status;
  }
  if (const std::string failed = failed_models(table); !failed.empty()) {
    throw Error(fmt::format("not all models could be trained: {}; the table says why, and the same command tries again",
                            failed));
  }
  return 0;
}

}  // namespace

Command reproduce_command() {
  Command command;
  command.name = "reproduce";
  command.summary = "train the paper's five models and set them side by side";
  command.usage = "table1 --data DIR [--out DIR] [options]";
  command.description = fmt::format(
      "Trains the models of the paper's Table 1 on one data set, with the paper's settings (Adam with a learning rate "
      "of 1e-4, batches of 64, 100 epochs), and prints the table beside the paper's figures: accuracies, "
      "parameters, images/s, peak memory, hours. The models are {}.\n\n"
      "Each model is trained by a process of its own, facet train, in a run's folder of its name in --out; the table "
      "is written there after each, as table1.md, table1.csv and table1.json. The same command goes on where an "
      "earlier one was stopped or killed, within a model too; what is trained already isn't trained again, and more "
      "epochs may be asked for. A model that fails doesn't keep the others from being trained. Where a model's batch "
      "wouldn't fit into memory, it is trained with --save-memory, and its row says so.",
      fmt::join(table_models(), ", "));
  command.groups = {
      {"Data",
       {{.name = "data",
         .argument = "DIR",
         .help = "folder with the manifests: fairface_label_train.csv and fairface_label_val.csv (with FairFace's "
                 "folders train and val), or train.csv and val.csv or validation.csv"},
        {.name = "heads",
         .argument = "A,B,...",
         .help = "columns to use; without it, all but `file` and `service_test`"}}},
      {"Models and learning",
       {{.name = "models",
         .argument = "A,B,...",
         .help = "models to train now; the rows of the others show what --out holds of them",
         .fallback = fmt::format("{}", fmt::join(table_models(), ","))},
        size_option(),
        {.name = "epochs", .argument = "N", .help = "epochs of each model", .fallback = "100"},
        {.name = "batch", .argument = "N", .help = "images a batch", .fallback = "64"},
        {.name = "seed", .argument = "N", .help = "seed of every random draw", .fallback = "0"}}},
      {"Computing",
       {precision_option("auto"),
        {.name = "threads", .argument = "N", .help = "compute threads, as of facet train", .fallback = "0"},
        {.name = "loader-threads", .argument = "N", .help = "decoding threads; 0: one", .fallback = "0"},
        {.name = "no-tune",
         .argument = "",
         .help = "don't time candidate primitives before a model's first step",
         .value = Option::Value::none},
        choice_cache_option()}},
      {"Results",
       {{.name = "out", .argument = "DIR", .help = "folder of the runs and the table", .fallback = "runs/table1"}}}};
  command.examples = {{"FairFace, as in the paper", "facet reproduce table1 --data fairface --out runs/table1"},
                      {"a first look, two models only",
                       "facet reproduce table1 --data faces --epochs 5 --models reference,mobilenet_v2"}};
  command.exit_status = {{"130", "stopped by Ctrl-C (SIGINT) or SIGTERM; the same command goes on"}};
  command.run = run;
  return command;
}

}  // namespace facet::app
