#include "cli/command.h"
#include "cli/runs.h"
#include "cli/terminal.h"
#include "facet/synthetic.h"

namespace facet::app {
namespace {

int run_synth(Options& options) {
  const std::string folder = only_argument(options, "DIR");
  SyntheticOptions sample;
  sample.train = options.integer("train", 0, 10'000'000);
  sample.validation = options.integer("validation", 0, 10'000'000);
  sample.size = static_cast<int>(options.integer("size", 32, 2048));
  sample.seed = static_cast<std::uint64_t>(options.integer("seed", 0));
  {
    ProgressBar bar;
    write_synthetic_sample(folder, sample, count_progress(bar, "drawing", sample.train + sample.validation));
  }
  if (is_quiet()) return 0;
  print_out("{}/train.csv: {}\n{}/validation.csv: {}\n", folder, counted(sample.train, "image"), folder,
            counted(sample.validation, "image"));
  print_out("train on it: facet train --train {0}/train.csv --validation {0}/validation.csv --size {1}\n",
            shell_word(folder), sample.size.height);
  return 0;
}

}  // namespace

Command synth_command() {
  Command command;
  command.name = "synth";
  command.summary = "draw a labelled sample of pictures to try facet without data";
  command.usage = "DIR [options]";
  command.description =
      "Draws pictures of abstract figures and writes them as JPEGs into DIR, with the manifests DIR/train.csv and "
      "DIR/validation.csv. They have FairFace's columns and classes (age 9, gender 2, race 7). Each class is drawn in "
      "its own way under noise and distractors, so that a model can learn it, but not trivially. The same options give "
      "the same files.";
  command.groups = {
      {"Sample",
       {{.name = "train", .argument = "N", .help = "training pictures", .fallback = "2000"},
        {.name = "validation", .argument = "N", .help = "validation pictures", .fallback = "500"},
        {.name = "size", .argument = "PIXELS", .help = "height and width of a picture, 32 to 2048", .fallback = "64"},
        {.name = "seed", .argument = "N", .help = "seed of every random draw", .fallback = "0"}}}};
  command.examples = {{"", "facet synth sample --train 2000 --validation 500 --size 64"}};
  command.run = run_synth;
  return command;
}

}  // namespace facet::app
