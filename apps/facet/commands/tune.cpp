#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <utility>

#include "cli/command.h"
#include "cli/output_file.h"
#include "cli/shared_options.h"
#include "cli/terminal.h"
#include "facet/dataset.h"
#include "facet/error.h"
#include "facet/session.h"
#include "facet/threads.h"

namespace facet::app {
namespace {

/// Black images without labels: how long a primitive takes depends on no pixel.
class BlackImages final : public Dataset {
 public:
  BlackImages(std::int64_t size, std::vector<Head> heads)
      : size_(size), heads_(std::move(heads)), no_labels_(heads_.size(), no_label) {}

  std::int64_t size() const override { return size_; }
  const std::vector<Head>& heads() const override { return heads_; }
  std::span<const std::int32_t> labels(std::int64_t /*index*/) const override { return no_labels_; }
  void load(const LoadRequest& /*request*/, std::span<std::uint8_t> pixels) const override {
    std::ranges::fill(pixels, std::uint8_t{0});
  }
  std::string name(std::int64_t index) const override { return fmt::format("image {}", index); }

 private:
  std::int64_t size_;
  std::vector<Head> heads_;
  std::vector<std::int32_t> no_labels_;
};

int run_tune(Options& options) {
  require_no_arguments(options);
  ModelInfo info;
  info.model = options.text("model");
  info.size = read_size(options);
  info.heads = read_class_counts(options);
  set_ordinal(options, info.heads);
  info.shape = shape_for(options, read_shape(options), info.heads);
  Graph graph = build_requested_model(options, {.heads = info.heads, .size = info.size}, info.shape);
  freeze_requested(options, graph);
  TrainOptions training = read_training_options(options);
  training.tuning_cache = read_tuning_cache(options);
  pin_if_requested(options, plan_threads(training.threads, training.loader_threads).compute);
  const std::int64_t processes = options.integer("processes", 1, training.batch);
  training.batch = (training.batch + processes - 1) / processes;
  OutputFile out(options.text("out"));

  ProgressBar bar;
  int timed = 0;
  training.on_tuning = [&](int done) { bar.draw("tuning", -1, fmt::format("{} primitives chosen", timed = done)); };
  const auto began = std::chrono::steady_clock::now();
  TrainingSession session(std::move(graph), info, training);
  session.evaluate(BlackImages(training.batch, info.heads));
  out.write(session.tuning_record());
  out.commit();
  bar.clear();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  std::FILE* const remarks = out.is_standard_output() ? stderr : stdout;
  for (const std::string& note : session.take_notes()) print_note(note, remarks);
  print_to(remarks, "precision   {}\n", to_string(session.precision()));
  print_to(remarks, "for         batches of {}, {}\n", training.batch, counted(session.threads(), "thread"));
  print_to(remarks, "tuned       {} in {}\n", counted(timed, "primitive"), duration_text(seconds));
  print_to(remarks, "record      {}\n", out.name());
  return 0;
}

}  // namespace

Command tune_command() {
  Command command;
  command.name = "tune";
  command.summary = "choose the fastest primitives of a model for this kind of machine";
  command.usage = "[options]";
  command.description =
      "Times the primitives that can train and validate a model with batches of a size, as facet train does before its "
      "first step, and writes the fastest to a tuning record. With --tuning-record FILE, facet train then starts "
      "without timing on every machine of the kind, to the same bits on all: a cluster is tuned once, on one of its "
      "nodes. A record is for the model, the precision, the batch size of one process and its number of threads; "
      "smaller batches, as at the end of an epoch, take the choices of the full one. facet train times what a record "
      "lacks, and says so.";
  command.groups = {
      {"Model", {model_option(), class_counts_option(), ordinal_option(), size_option()}},
      reference_shape_options(),
      {"Training",
       {training_option("batch"),
        {.name = "processes",
         .argument = "N",
         .help = "processes that will train together: the batch size of each is its share of --batch",
         .fallback = "1"},
        training_option("freeze"),
        training_option("accumulate"),
        training_option("save-memory")}},
      {"Computing",
       {training_option("precision"), training_option("threads"), training_option("loader-threads"), pin_option(),
        training_option("tuning-cache")}},
      {"Results",
       {{.name = "out", .argument = "FILE", .help = "the tuning record to write", .fallback = "tuning.json"}}}};
  command.examples = {
      {"on one node, for two processes of 32 threads each", "facet tune --batch 256 --processes 2 --threads 32"},
      {"then", "mpirun -n 2 facet train --train train.csv --batch 256 --threads 32 --tuning-record tuning.json"}};
  command.run = run_tune;
  return command;
}

}  // namespace facet::app
