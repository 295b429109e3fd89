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

/// The images of the batches that a set of this many ends with: a full one, and a smaller last one where there is one.
std::int64_t images_of_each_batch_size(std::int64_t images, std::int64_t batch) {
  return images <= batch ? images : batch + images % batch;
}

/// Trains on batches of each size that an epoch of `images` has, the full one being tuned already.
void tune_last_batch(TrainingSession& session, std::int64_t images) {
  const std::int64_t last = images % session.options().batch;
  if (images < session.options().batch || last == 0) return;
  Batch batch;
  batch.size = last;
  const ImageSize size = session.info().size;
  batch.pixels.resize(static_cast<std::size_t>(last) * static_cast<std::size_t>(size.height) *
                      static_cast<std::size_t>(size.width) * 3);
  batch.labels.resize(static_cast<std::size_t>(last) * session.info().heads.size(), 0);
  session.step(batch);
}

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
  pin_if_requested(options, resolve_threads(training.threads));
  const std::int64_t images = options.integer("images", 0), validation = options.integer("validation-images", 0);
  OutputFile out(options.text("out"));

  ProgressBar bar;
  int timed = 0;
  training.on_tuning = [&](int done) { bar.draw("tuning", -1, fmt::format("{} primitives chosen", timed = done)); };
  const auto began = std::chrono::steady_clock::now();
  TrainingSession session(std::move(graph), info, training);
  tune_last_batch(session, images);
  if (validation > 0) {
    session.evaluate(BlackImages(images_of_each_batch_size(validation, training.batch), info.heads));
  }
  out.write(session.tuning_record());
  out.commit();
  bar.clear();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  std::FILE* const remarks = out.is_standard_output() ? stderr : stdout;
  for (const std::string& note : session.take_notes()) print_note(note, remarks);
  print_to(remarks, "precision   {}\n", to_string(session.precision()));
  print_to(remarks, "threads     {}\n", session.threads());
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
      "Times the primitives that can train and evaluate a model with batches of a size, as facet train does before its "
      "first step, and writes the fastest to a tuning record. With --tuning-record FILE, facet train then starts "
      "without timing on every machine of the kind, to the same bits on all: a cluster is tuned once, on one of its "
      "nodes. Of several processes, each has its share of a step's images: --batch is that of one of them here.";
  command.groups = {
      {"Model", {model_option(), class_counts_option(), ordinal_option(), size_option()}},
      reference_shape_options(),
      {"Training",
       {training_option("batch", "batch size, in images, of one process"),
        {.name = "images",
         .argument = "N",
         .help = "images in the training set: the batch that is left at the end of an epoch is tuned too; 0: it isn't",
         .fallback = "0"},
        {.name = "validation-images",
         .argument = "N",
         .help = "images in the validation set, whose batches are tuned too; 0: they aren't",
         .fallback = "0"},
        training_option("freeze"),
        training_option("accumulate"),
        training_option("save-memory")}},
      {"Computing",
       {training_option("precision"), training_option("threads"), pin_option(), training_option("tuning-cache")}},
      {"Results",
       {{.name = "out", .argument = "FILE", .help = "the tuning record to write", .fallback = "tuning.json"}}}};
  command.examples = {
      {"", "facet tune --batch 64 --images 86744 --validation-images 10954 --out tuning.json"},
      {"then, on every node", "facet train --train train.csv --validation val.csv --tuning-record tuning.json"}};
  command.run = run_tune;
  return command;
}

}  // namespace facet::app
