#include <algorithm>
#include <utility>

#include "cli/command.h"
#include "cli/manifests.h"
#include "cli/ranks.h"
#include "cli/shared_options.h"

namespace facet::app {
namespace {

/// The options of the data that aren't in train_options().
std::vector<Option> data_options() {
  std::vector<Option> options{
      {.name = "train",
       .argument = "CSV",
       .help = "training manifest: a column of file names and one for each head (FairFace's manifests need no change)"},
      {.name = "validation", .argument = "CSV", .help = "manifest for the validation after each epoch"}};
  for (Option& option : manifest_options()) options.push_back(std::move(option));
  options.push_back({.name = "sample",
                     .argument = "balanced:HEAD|weights:COLUMN",
                     .help = "draw each epoch's images at random, with replacement: balanced, such that each class of "
                             "the head is equally likely (an image without a label of it is as likely as one with a "
                             "label on average); weights, in proportion to the numbers in a column of the training "
                             "manifest, which is then no head; by default each image occurs once"});
  options.push_back(bad_images_option("skip them and list them in the run's skipped.csv"));
  return options;
}

/// Inserts options into a group behind the one with that name.
void insert_after(const std::string& name, OptionGroup& group, const std::vector<Option>& options) {
  const auto place = std::find_if(group.options.begin(), group.options.end(),
                                  [&](const Option& option) { return option.name == name; });
  group.options.insert(place == group.options.end() ? place : place + 1, options.begin(), options.end());
}

void insert_first(OptionGroup& group, const std::vector<Option>& options) {
  group.options.insert(group.options.begin(), options.begin(), options.end());
}

Option max_cpu_isa_option() {
  return {.name = "max-cpu-isa",
          .argument = "avx2|avx512|avx512_bf16",
          .help =
              "the highest CPU ISA that may be used, so that a CPU computes as an older one does; of several "
              "processes each has its own; run.cfg doesn't keep it",
          .of_process = true};
}

Option verbose_option() {
  return {.name = "verbose",
          .argument = "",
          .help = "also print how many seconds the start takes, up to the first step, and in which phases",
          .value = Option::Value::none,
          .of_process = true};
}

/// The groups of train_options(), with the options of the model, the data and the machine among them.
std::vector<OptionGroup> option_groups() {
  std::vector<OptionGroup> groups;
  for (OptionGroup& group : training_option_groups()) {
    const std::string title = group.title;
    if (title == "Data") {
      insert_first(group, data_options());
      insert_after("no-flip", group, normalization_options());
    }
    if (title == "Model and learning")
      insert_first(group, {recipe_option(), model_option(), size_option(), resize_option(), ordinal_option()});
    if (title == "Computing") insert_after("loader-threads", group, {pin_option(), max_cpu_isa_option()});
    if (title == "Run") group.options.push_back(verbose_option());
    if (title.starts_with("Several processes")) insert_first(group, {mpi_option(), rank_timeout_option()});
    groups.push_back(std::move(group));
    if (title == "Model and learning") groups.push_back(reference_shape_options());
  }
  return groups;
}

}  // namespace

Command train_manual() {
  Command command;
  command.name = "train";
  command.summary = "train a model on labelled images";
  command.usage = "--train CSV [--validation CSV] [--out DIR] [options]";
  command.description =
      "Trains a model on the images of a manifest, all heads at once, and validates it after each epoch. The defaults "
      "are the paper's: Adam with a learning rate of 1e-4, a batch size of 64 and 100 epochs.\n\n"
      "The run's folder holds checkpoints/best.safetensors (the highest mean validation accuracy) and "
      "checkpoints/last.safetensors, metrics.csv and metrics.jsonl (a line for each epoch), tuning.json (the tuning "
      "record) and run.cfg (the options, with which the run can be repeated); if a run fails, error.txt says why. On "
      "Ctrl-C, SIGTERM, SIGHUP (unless nohup is used) and SIGUSR1, the run finishes its step, saves and says how to "
      "resume; a further signal, except SIGUSR1, that comes a second or more after the first ends it at once. An image "
      "that can't be read also ends the run, after the steps before it are saved. Only one process at a time can use a "
      "run's folder.\n\n"
      "Started by mpirun or srun, the processes train one model together: --batch images a step, of which each has its "
      "share. Options are those of the first process, which alone prints and writes; a run may be resumed by another "
      "number of processes. A signal to one stops all; mpirun passes on SIGUSR1, but ends its processes a second after "
      "Ctrl-C or SIGTERM.";
  command.groups = option_groups();
  command.examples = {
      {"train on faces, ten epochs", "facet train --train train.csv --validation val.csv --epochs 10 --out runs/faces"},
      {"resume after a stop, a crash or a pre-emption", "facet train --resume --out runs/faces"},
      {"start from weights trained on ImageNet",
       "facet train --train train.csv --model resnet34 --pretrained resnet34.safetensors"},
      {"start from FairFace's own ResNet-34, including its three heads",
       "facet train --train train.csv --model resnet34 --pretrained res34_fair_align_multi_7_20190809.pt "
       "\\\n      --split-head fc=race:0-6,gender:7-8,age:9-17"},
      {"train only the heads: freeze all weights whose name doesn't begin with h",
       "facet train --train train.csv --model resnet34 --pretrained resnet34.pth --freeze '[!h]*'"},
      {"repeat a run, bit for bit on the same kind of machine",
       "facet train --config runs/faces/run.cfg --out runs/again"},
      {"a smaller model with half the channels and one block less",
       "facet train --train train.csv --stem 32 --blocks 64x1,128x2 --hidden 128 --size 96"},
      {"ages as ordered classes, and as many images of each of them",
       "facet train --train train.csv --validation val.csv --ordinal age --sample balanced:age"},
      {"train in a process for each of four NUMA nodes",
       "mpirun -n 4 --map-by ppr:1:numa --bind-to numa facet train --train train.csv --batch 256 "
       "\\\n      --lr-scale-batch 64 --warmup-epochs 5 --out runs/faces"},
      {"two heads only, one with its classes in a given order",
       "facet train --train mine.csv --heads mood,glasses --classes mood=sad,calm,glad"}};
  command.exit_status = {
      {"75",
       "stopped by SIGTERM, SIGHUP or SIGUSR1, as batch systems send them; everything is saved, --resume continues. Or "
       "no step has ended after such a signal, or one of several processes is lost (--rank-timeout); --resume "
       "continues "
       "from the last checkpoint"},
      {"130", "stopped by Ctrl-C (SIGINT); everything is saved, or no step has ended after it; --resume continues"}};
  command.prints_progress = true;
  return command;
}

}  // namespace facet::app
