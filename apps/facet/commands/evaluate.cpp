#include <algorithm>
#include <cstdio>
#include <iterator>
#include <set>

#include "cli/command.h"
#include "cli/manifests.h"
#include "cli/output_file.h"
#include "cli/runs.h"
#include "cli/shared_options.h"
#include "cli/terminal.h"
#include "commands/evaluation_report.h"
#include "commands/prediction_rows.h"
#include "facet/inference.h"
#include "facet/text.h"
#include "facet/threads.h"

namespace facet::app {
namespace {

std::vector<HeadResult> evaluate_and_write(Predictor& predictor, const ManifestDataset& data,
                                           const InferenceOptions& inference, OutputFile& predictions,
                                           EvaluationTime& time) {
  ProgressBar bar;
  const auto progress = count_progress(bar, "evaluating", data.size());
  const std::vector<Head>& heads = predictor.info().heads;
  predictions.write(prediction_header(heads, Detail::all));
  std::int64_t done = 0;
  const auto each = [&](const Batch& batch, const std::vector<HeadPrediction>& answers) {
    std::string lines;
    for (std::size_t row = 0; predictions.wanted() && row < batch.indices.size(); ++row) {
      const std::int64_t index = batch.indices[row];
      lines += prediction_line(heads, Detail::all, data.name(index), data.labels(index), answers, row);
    }
    predictions.write(lines);
    progress(done += batch.size);
  };
  return evaluate(predictor, data, inference, each, &time);
}

/// The names of the heads that at least one image has a label for.
std::set<std::string> labelled_heads(const Dataset& data) {
  std::set<std::string> names;
  for (std::int64_t image = 0; image < data.size(); ++image) {
    for (std::size_t head = 0; head < data.heads().size(); ++head) {
      if (data.labels(image)[head] != no_label) names.insert(data.heads()[head].name);
    }
  }
  return names;
}

/// Skips the images that can't be read; names the heads that lose all their labels by that.
void skip_and_note(const std::string& csv, ManifestDataset& data, int threads, std::FILE* remarks) {
  const std::set<std::string> before = labelled_heads(data);
  skip_bad_images(csv, data, threads, remarks);
  const std::set<std::string> after = labelled_heads(data);
  std::vector<std::string> lost;
  std::ranges::set_difference(before, after, std::back_inserter(lost));
  if (lost.empty()) return;
  print_note(fmt::format("{}: all images with labels for these heads were skipped: {}", printable(csv), list_of(lost)),
             remarks);
}

int run_evaluate(Options& options) {
  const std::string source = only_argument(options, "RUN_OR_MODEL");
  const std::string csv = options.required("data");
  const InferenceOptions inference = read_inference_options(options);
  pin_if_requested(options, resolve_threads(inference.threads));
  const bool skip = skips_bad_images(options);

  const std::filesystem::path model = find_model(source, options.text("checkpoint"));
  require_different_files(options, {"data", "json", "predictions"});
  OutputFile json(options.text("json")), predictions(options.text("predictions"));
  ManifestOptions manifest;
  manifest.root = options.text("root");
  read_columns(options, manifest);
  manifest.allow_missing = true;
  manifest.expected = read_model_info(model).heads;
  ManifestDataset data(csv, manifest);
  std::FILE* const remarks = json.is_standard_output() || predictions.is_standard_output() ? stderr : stdout;
  print_notes(csv, data, remarks);
  if (skip) skip_and_note(csv, data, inference.threads, remarks);

  Predictor predictor(model, inference);
  EvaluationTime time;
  std::vector<HeadResult> results = evaluate_and_write(predictor, data, inference, predictions, time);
  std::erase_if(results,
                [](const HeadResult& result) { return result.labelled == 0; });  // notes name those that have none
  print_warnings(csv, data);
  json.write(evaluation_json(model.string(), csv, data.size(), inference.tta, results));
  json.commit();
  predictions.commit();
  if (json.is_standard_output()) return 0;
  print_to(remarks, "{} on {} of {}\n\n{}", printable(model.string()), counted(data.size(), "image"), printable(csv),
           evaluation_tables(results));
  if (!is_quiet()) print_to(remarks, "\n{}\n", waiting_text(time));
  if (json.is_kept()) print_to(remarks, "\nJSON: {}\n", printable(json.name()));
  if (predictions.is_kept()) print_to(remarks, "\npredictions: {}\n", printable(predictions.name()));
  return 0;
}

}  // namespace

Command evaluate_command() {
  Command command;
  command.name = "evaluate";
  command.summary = "evaluate a model on labelled images: accuracy, metrics by class, confusion matrix";
  command.usage = "RUN_OR_MODEL --data CSV [options]";
  command.description =
      "Classifies every image of a manifest and compares the predictions with its labels: accuracy and loss of each "
      "head, precision, recall and F1 of each class, and a confusion matrix. RUN_OR_MODEL is the folder of a training "
      "run, whose best checkpoint is used, or a model file (.safetensors).";
  OptionGroup data{"Data",
                   {{.name = "data",
                     .argument = "CSV",
                     .help = "the manifest: a column of file names and one for each of the model's heads; heads "
                             "without a column or without labels are left out, and a note names them"},
                    root_option()}};
  for (Option& option : column_options()) data.options.push_back(std::move(option));
  data.options.push_back(bad_images_option("skip them and say how many"));
  command.groups = {std::move(data),
                    {"Results",
                     {{.name = "json",
                       .argument = "FILE",
                       .help = "write the results as JSON: to FILE in addition to the tables (also `--json FILE` where "
                               "FILE ends in .json), or without FILE to standard output instead of the tables",
                       .value = Option::Value::optional},
                      {.name = "predictions",
                       .argument = "FILE",
                       .help = "write a CSV file with each image's labels, predictions, probabilities and logits; - is "
                               "standard output"}}},
                    inference_options()};
  command.examples = {{"", "facet evaluate runs/faces --data val.csv"},
                      {"", "facet evaluate runs/faces --data val.csv --checkpoint last --json > last.json"},
                      {"", "facet evaluate faces.safetensors --data val.csv --predictions answers.csv"}};
  command.run = run_evaluate;
  return command;
}

}  // namespace facet::app
