#include <cstdio>

#include "base/text.h"
#include "command.h"
#include "evaluation_report.h"
#include "facet/inference.h"
#include "figures.h"
#include "inference/threads.h"
#include "manifests.h"
#include "output_file.h"
#include "prediction_rows.h"
#include "print.h"
#include "progress_bar.h"
#include "run_folder.h"
#include "shared_options.h"

namespace facet::app {
namespace {

std::vector<HeadResult> evaluate_and_write(Predictor& predictor, const ManifestDataset& data,
                                           const InferenceOptions& inference, OutputFile& predictions) {
  ProgressBar bar;
  const auto progress = count_progress(bar, "evaluating", data.size());
  const std::vector<Head>& heads = predictor.info().heads;
  predictions.write(prediction_header(heads, Detail::all));
  std::int64_t done = 0;
  return evaluate(predictor, data, inference, [&](const Batch& batch, const std::vector<HeadPrediction>& answers) {
    std::string lines;
    for (std::size_t row = 0; predictions.wanted() && row < batch.indices.size(); ++row) {
      const std::int64_t index = batch.indices[row];
      lines += prediction_line(heads, Detail::all, data.name(index), data.labels(index), answers, row);
    }
    predictions.write(lines);
    progress(done += batch.size);
  });
}

int run(Options& options) {
  const std::string asked = only_argument(options, "RUN_OR_MODEL");
  const std::string csv = options.required("data");
  const InferenceOptions inference = read_inference_options(options);
  pin_if_asked(options, inference::compute_threads(inference.threads));
  const bool skip = skips_bad_images(options);

  const std::filesystem::path model = find_model(asked, options.text("checkpoint"));
  require_different_files(options, {"data", "json", "predictions"});
  OutputFile json(options.text("json")), predictions(options.text("predictions"));
  ManifestOptions manifest;
  manifest.root = options.text("root");
  manifest.expected = read_model_info(model).heads;
  ManifestDataset data(csv, manifest);
  std::FILE* const remarks = json.is_standard_output() || predictions.is_standard_output() ? stderr : stdout;
  print_notes(csv, data, remarks);
  if (skip) skip_bad_images(csv, data, inference.threads, remarks);

  Predictor predictor(model, inference);
  const auto results = evaluate_and_write(predictor, data, inference, predictions);
  print_warnings(csv, data);
  json.write(evaluation_json(model.string(), csv, data.size(), results));
  json.commit();
  predictions.commit();
  if (json.is_standard_output()) return 0;
  print_to(remarks, "{} on {} of {}\n\n{}", base::printable(model.string()), counted(data.size(), "image"),
           base::printable(csv), evaluation_tables(results));
  if (json.is_kept()) print_to(remarks, "\nJSON: {}\n", base::printable(json.name()));
  if (predictions.is_kept()) print_to(remarks, "\npredictions: {}\n", base::printable(predictions.name()));
  return 0;
}

}  // namespace

Command evaluate_command() {
  Command command;
  command.name = "evaluate";
  command.summary = "measure a model on labelled images: accuracy, classes, confusion";
  command.usage = "RUN_OR_MODEL --data CSV [options]";
  command.description =
      "Answers for every image of a manifest and counts the answers against its labels: accuracy and loss of each "
      "head, "
      "precision, recall and F1 of each class, and a confusion matrix. RUN_OR_MODEL is the folder of a training run, "
      "of "
      "which the best checkpoint is taken, or a model file (.safetensors).";
  command.groups = {
      {"Data",
       {{.name = "data",
         .argument = "CSV",
         .help = "the manifest: a `file` column and one column for each of the model's heads"},
        root_option(),
        bad_images_option("skip them and say how many")}},
      {"Results",
       {{.name = "json",
         .argument = "FILE",
         .help =
             "write the results as JSON: to FILE beside the tables (also `--json FILE` where FILE ends in .json), or "
             "without FILE to standard output instead of them",
         .value = Option::Value::optional},
        {.name = "predictions",
         .argument = "FILE",
         .help = "write a CSV with each image's labels, answers, probabilities and logits; - is standard output"}}},
      inference_options()};
  command.examples = {{"", "facet evaluate runs/faces --data val.csv"},
                      {"", "facet evaluate runs/faces --data val.csv --checkpoint last --json > last.json"},
                      {"", "facet evaluate faces.safetensors --data val.csv --predictions answers.csv"}};
  command.run = run;
  return command;
}

}  // namespace facet::app
