#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <utility>

#include "cli/command.h"
#include "cli/image_files.h"
#include "cli/output_file.h"
#include "cli/runs.h"
#include "cli/shared_options.h"
#include "cli/terminal.h"
#include "commands/prediction_rows.h"
#include "facet/error.h"
#include "facet/inference.h"
#include "facet/text.h"
#include "facet/threads.h"

namespace facet::app {
namespace {

/// A table of predictions for people. All column widths are known in advance, so that rows can be printed as they come.
class AnswerTable {
 public:
  AnswerTable(const std::vector<Head>& heads, const ImageFiles& images) : heads_(heads), file_width_(4) {
    for (std::int64_t i = 0; i < images.size(); ++i) {
      file_width_ = std::max(file_width_, display_width(printable(images.name(i))));
    }
    for (const Head& head : heads) {
      std::size_t width = 0;
      for (const std::string& name : head.classes) width = std::max(width, display_width(printable(name)));
      class_widths_.push_back(width);
    }
  }

  std::string header() const {
    std::string line = aligned_left("file", file_width_);
    for (std::size_t i = 0; i < heads_.size(); ++i) {
      line += "  " + aligned_left(printable(heads_[i].name), class_widths_[i] + 9);
    }
    return line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
  }

  std::string row(const std::string& file, const std::vector<HeadPrediction>& predictions, std::size_t row) const {
    std::string line = aligned_left(printable(file), file_width_);
    for (std::size_t i = 0; i < heads_.size(); ++i) {
      const Answer answer = answer_of(heads_[i], predictions[i], row);
      const std::string cell =
          aligned_left(printable(answer.name), class_widths_[i]) + aligned_right(percent(answer.probability), 9);
      line += "  " + aligned_left(cell, display_width(printable(heads_[i].name)));
    }
    return line + '\n';
  }

 private:
  const std::vector<Head>& heads_;
  std::size_t file_width_;
  std::vector<std::size_t> class_widths_;
};

/// The outputs for the predictions.
struct Outputs {
  OutputFile csv, jsonl;
  /// Whether the table is printed.
  bool table() const { return !csv.wanted() && !jsonl.wanted(); }
};

/// Runs the model on all images and writes the predictions; returns how many images couldn't be read.
std::int64_t predict_all(Predictor& predictor, const ImageFiles& images, const InferenceOptions& inference,
                         Outputs& outputs, EvaluationTime& time) {
  ProgressBar bar;
  const auto progress = count_progress(bar, "predicting", images.size());
  const std::vector<Head>& heads = predictor.info().heads;
  const AnswerTable table(heads, images);
  std::string header = outputs.table() ? table.header() : "";
  outputs.csv.write(prediction_header(heads, Detail::answers));
  std::int64_t done = 0, skipped = 0;
  const auto each = [&](const Batch& batch, const std::vector<HeadPrediction>& answers) {
    std::string csv, jsonl, rows;
    for (std::size_t row = 0; row < batch.indices.size(); ++row) {
      const std::int64_t index = batch.indices[row];
      if (const std::string& trouble = images.trouble(index); !trouble.empty()) {
        bar.clear();
        print_error("facet: skipped: {}\n", printable(trouble));
        ++skipped;
        continue;
      }
      const std::string file = images.name(index);
      if (outputs.csv.wanted()) csv += prediction_line(heads, Detail::answers, file, {}, answers, row);
      if (outputs.jsonl.wanted()) jsonl += prediction_json(heads, file, answers, row);
      if (outputs.table()) rows += table.row(file, answers, row);
    }
    outputs.csv.write(csv);
    outputs.jsonl.write(jsonl);
    bar.clear();
    if (!rows.empty()) print_out("{}{}", std::exchange(header, ""), rows);
    progress(done += batch.size);
  };
  evaluate(predictor, images, inference, each, &time);
  return skipped;
}

/// The batch size for images that wait: the requested one where they fill it. A predictor keeps the programs of three
/// batch sizes.
std::size_t batch_size(std::size_t waiting, std::size_t requested) {
  for (const std::size_t size : {requested, std::size_t{8}}) {
    if (waiting >= size && size <= requested) return size;
  }
  return 1;
}

/// Answers each image that is named on standard input as soon as it is computed.
int predict_names(const Options& options, Predictor& predictor, const InferenceOptions& inference, bool skip) {
  const std::vector<Head>& heads = predictor.info().heads;
  const auto batch = static_cast<std::size_t>(inference.batch);
  FileNames names(options.on("null") ? '\0' : '\n');
  std::vector<std::filesystem::path> waiting;
  std::int64_t answered = 0, skipped = 0;
  bool is_read = true;  // somebody reads the answers
  const auto answer = [&](const ImageFiles& images, std::int64_t index, const std::vector<HeadPrediction>& answers,
                          std::size_t row) {
    const std::string file = images.name(index);
    if (const std::string& warning = images.warning(index); !warning.empty()) {
      print_error("facet: read with a warning: {}: {}\n", printable(file), printable(warning));
    }
    if (const std::string& trouble = images.trouble(index); !trouble.empty()) {
      if (!skip) throw Error(trouble);
      ++skipped;
      return error_json(file, trouble);
    }
    ++answered;
    return prediction_json(heads, file, answers, row);
  };
  for (;;) {
    // Within a group of several batches, images are decoded while others are computed.
    const std::vector<std::filesystem::path> arrived =
        names.next(16 * batch - std::min(16 * batch, waiting.size()), waiting.empty());
    waiting.insert(waiting.end(), arrived.begin(), arrived.end());
    if (waiting.empty()) break;
    const std::size_t size = batch_size(waiting.size(), batch);
    const auto end = waiting.end() - static_cast<std::ptrdiff_t>(waiting.size() % size);
    const ImageFiles images({waiting.begin(), end}, heads, true);  // those before a bad one are answered
    waiting.erase(waiting.begin(), end);
    InferenceOptions group = inference;
    group.batch = static_cast<std::int64_t>(size);
    evaluate(predictor, images, group, [&](const Batch& batch_of, const std::vector<HeadPrediction>& answers) {
      for (std::size_t row = 0; row < batch_of.indices.size(); ++row) {
        print_out("{}", answer(images, batch_of.indices[row], answers, row));
      }
      is_read = flush_output();
    });
    if (!is_read) return 0;  // main() says why
  }
  if (answered == 0 && skipped > 0) throw Error("no image could be read");
  return 0;
}

void print_warnings(const ImageFiles& images) {
  std::int64_t count = 0, first = 0;
  for (std::int64_t i = images.size() - 1; i >= 0; --i) {
    if (images.warning(i).empty()) continue;
    ++count;
    first = i;
  }
  if (count == 0) return;
  print_error("facet: {} of {} read with warnings; the first: {}: {}\n", grouped(count),
              counted(images.size(), "image"), printable(images.name(first)), printable(images.warning(first)));
}

/// Whether the names of the images are read from standard input. @throws UsageError for what can't be combined.
bool reads_names(const Options& options, const std::vector<std::string>& words) {
  if (std::ranges::find(words, standard_output) == words.end()) {
    if (options.on("null")) throw UsageError("--null is for names that are read from standard input (-)");
    return false;
  }
  if (words.size() > 1) throw UsageError("'-', which reads names from standard input, is allowed alone only");
  for (const char* name : {"csv", "jsonl"}) {
    if (!options.given(name) || (options.text(name) == standard_output && std::string_view(name) == "jsonl")) continue;
    throw UsageError(
        fmt::format("{} isn't allowed with '-': JSON lines are written to standard output", options.origin(name)));
  }
  return true;
}

int run_predict(Options& options) {
  if (options.arguments().size() < 2) throw UsageError("RUN_OR_MODEL and at least one image or folder are needed");
  InferenceOptions inference = read_inference_options(options);
  pin_if_requested(options, resolve_threads(inference.threads));
  const bool skip = skips_bad_images(options);
  const std::filesystem::path model = find_model(options.arguments().front(), options.text("checkpoint"));
  const std::vector<std::string> words(options.arguments().begin() + 1, options.arguments().end());
  if (reads_names(options, words)) {
    Predictor predictor(model, inference);
    return predict_names(options, predictor, inference, skip);
  }
  std::vector<std::string> unreadable;
  const ImageFiles images(find_images(words, skip ? &unreadable : nullptr), read_model_info(model).heads, skip);
  for (const std::string& folder : unreadable) print_error("facet: skipped: {}\n", folder);
  require_different_files(options, {"csv", "jsonl"});
  Outputs outputs{OutputFile(options.text("csv")), OutputFile(options.text("jsonl"))};

  inference.batch = std::min(inference.batch, images.size());
  Predictor predictor(model, inference);
  EvaluationTime time;
  const std::int64_t skipped = predict_all(predictor, images, inference, outputs, time);
  if (skipped == images.size()) throw Error("no image could be read");
  outputs.csv.commit();
  outputs.jsonl.commit();
  std::FILE* const remarks = outputs.csv.is_standard_output() || outputs.jsonl.is_standard_output() ? stderr : stdout;
  for (const OutputFile* file : {&outputs.csv, &outputs.jsonl}) {
    if (!file->is_kept() || is_quiet()) continue;
    print_to(remarks, "{}: {}; {}\n", printable(file->name()), counted(images.size() - skipped, "image"),
             waiting_text(time));
  }
  if (outputs.table() && images.size() > 1 && !is_quiet()) print_error("facet: {}\n", waiting_text(time));
  print_warnings(images);
  if (skipped > 0) print_error("facet: skipped {} of {}\n", grouped(skipped), counted(images.size(), "image"));
  return 0;
}

}  // namespace

Command predict_command() {
  Command command;
  command.name = "predict";
  command.summary = "classify photographs with a model";
  command.usage = "RUN_OR_MODEL IMAGE_OR_FOLDER...|- [options]";
  command.description =
      "Classifies photographs (JPEG, PNG or WebP) and prints a table on standard output, or writes CSV or JSON lines. "
      "RUN_OR_MODEL is the folder of a training run, whose best checkpoint is used, or a model file (.safetensors). A "
      "folder of photographs stands for all .jpg, .jpeg, .png and .webp files in it and its subfolders, sorted; links "
      "are followed. In place of photographs, - reads their names from standard input, a line each, until it ends: "
      "each "
      "is answered by a JSON object in a line on standard output as soon as it is computed, in the same order.";
  command.groups = {
      {"Photographs",
       {bad_images_option("skip them, with a line on standard error for each, or with names from standard "
                          "input an answer {\"file\": ..., \"error\": ...}"),
        {.name = "null",
         .argument = "",
         .help = "names on standard input end in a NUL character instead of a line break (find -print0)",
         .value = Option::Value::none}}},
      {"Results",
       {{.name = "csv",
         .argument = "FILE",
         .help = "write a CSV file instead of the table: file, each head's class and probability, each "
                 "class's probability; - is standard output"},
        {.name = "jsonl",
         .argument = "FILE",
         .help = "write one JSON object for each photograph instead of the table: classes and "
                 "probabilities by head; - is standard output"}}},
      inference_options()};
  command.examples = {{"", "facet predict runs/faces photo.jpg folder/"},
                      {"", "facet predict runs/faces folder/ --csv predictions.csv --bad-images skip"},
                      {"", "facet predict faces.safetensors folder/ --jsonl predictions.jsonl"},
                      {"", "find folder/ -name '*.jpg' -newer yesterday | facet predict runs/faces -"}};
  command.run = run_predict;
  return command;
}

}  // namespace facet::app
