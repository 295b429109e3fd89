#include "train_manual.h"

#include "manifests.h"
#include "recipe_options.h"
#include "reference_shape.h"
#include "shared_options.h"

namespace facet::app {
namespace {

OptionGroup data_options() {
  OptionGroup group{
      "Data",
      {{.name = "train",
        .argument = "CSV",
        .help = "manifest to learn from: a column of files and one column a head (FairFace's files work as they are)"},
       {.name = "validation", .argument = "CSV", .help = "manifest to validate with after each epoch"}}};
  for (Option& option : manifest_options()) group.options.push_back(std::move(option));
  group.options.push_back(bad_images_option("skip them, listed in the run's skipped.csv"));
  group.options.push_back({.name = "drop-last",
                           .argument = "",
                           .help = "leave out the last, smaller batch of each epoch",
                           .value = Option::Value::none});
  group.options.push_back(
      {.name = "no-flip", .argument = "", .help = "don't mirror images at random", .value = Option::Value::none});
  for (Option& option : normalization_options()) group.options.push_back(std::move(option));
  return group;
}

OptionGroup learning_options() {
  return {
      "Model and learning",
      {model_option(),
       size_option(),
       resize_option(),
       {.name = "pretrained",
        .argument = "FILE",
        .help =
            "weights to begin with: a safetensors file, or what torch.save writes of a state_dict or of a checkpoint "
            "that has one, with torchvision's names or facet's; a head's classes are matched by name, and a "
            "classifier of other classes is left out"},
       split_head_option("of a layer of --pretrained, the rows that are a head's"),
       freeze_option(),
       {.name = "epochs", .argument = "N", .help = "epochs in all, those of a resumed run included", .fallback = "100"},
       {.name = "batch", .argument = "N", .help = "images a batch", .fallback = "64"},
       {.name = "seed",
        .argument = "N",
        .help = "seed of every random draw; the same seed, threads and choices give the same bits",
        .fallback = "0"}}};
}

OptionGroup computing_options() {
  return {
      "Computing",
      {precision_option("auto"),
       {.name = "threads",
        .argument = "N",
        .help =
            "compute threads; 0: OMP_NUM_THREADS, else all cores that the process may use (of 16 and more, less the "
            "decoding threads)",
        .fallback = "0"},
       {.name = "loader-threads",
        .argument = "N",
        .help = "decoding threads; 0: as many as needed, up to the cores that the process may use",
        .fallback = "0"},
       pin_option(),
       {.name = "no-tune",
        .argument = "",
        .help = "don't time candidate primitives before the first step; take oneDNN's own choice",
        .value = Option::Value::none},
       save_memory_option(),
       {.name = "choices",
        .argument = "FILE",
        .help = "choices.json of an earlier run: take its primitives and precision instead of timing"},
       choice_cache_option()}};
}

OptionGroup run_options() {
  return {
      "Run",
      {{.name = "out",
        .argument = "DIR",
        .help = "the run's folder; without it, runs/ and the date and time: runs/2026-01-31_09-30-00"},
       {.name = "keep",
        .argument = "N",
        .help = "older checkpoints to keep, one an epoch, beside best and last",
        .fallback = "0"},
       {.name = "checkpoint-minutes",
        .argument = "MINUTES",
        .help = "save within an epoch too, this often; 0: at its end only",
        .fallback = "0"},
       {.name = "resume",
        .argument = "",
        .help = "go on with the run in --out from its last checkpoint, within an epoch too, with the options of its "
                "run.cfg (unless --config names another); where there is none yet, start",
        .value = Option::Value::none}}};
}

}  // namespace

Command train_manual() {
  Command command;
  command.name = "train";
  command.summary = "train a model on labelled images";
  command.usage = "--train CSV [--validation CSV] [--out DIR] [options]";
  command.description =
      "Trains a model on the images of a manifest, all heads at once, and validates it after each epoch. The defaults "
      "are "
      "the paper's: Adam with a learning rate of 1e-4, batches of 64, 100 epochs.\n\n"
      "The run's folder holds checkpoints/best.safetensors (the highest mean validation accuracy) and "
      "checkpoints/last.safetensors, metrics.csv and metrics.jsonl (a line an epoch), choices.json (what tuning chose) "
      "and "
      "run.cfg (the options, with which the run can be repeated); of a run that failed, error.txt says why. Ctrl-C, "
      "SIGTERM, SIGHUP (unless nohup "
      "is used) and SIGUSR1 finish the step, save and say how to go on; another one, but for SIGUSR1, that comes a "
      "second or more after the first ends it at once. An image that can't be read ends the run as well, after the "
      "steps "
      "before it are saved. One process at a time can use a run's folder.";
  command.groups = {data_options(), learning_options(), reference_shape_options()};
  for (OptionGroup& group : recipe_options()) command.groups.push_back(std::move(group));
  command.groups.push_back(computing_options());
  command.groups.push_back(run_options());
  command.examples = {
      {"train on faces, ten epochs", "facet train --train train.csv --validation val.csv --epochs 10 --out runs/faces"},
      {"go on after a stop, a crash or a pre-emption", "facet train --resume --out runs/faces"},
      {"begin with weights trained on ImageNet",
       "facet train --train train.csv --model resnet34 --pretrained resnet34.safetensors"},
      {"begin with FairFace's own ResNet-34, its three heads included",
       "facet train --train train.csv --model resnet34 --pretrained res34_fair_align_multi_7_20190809.pt "
       "\\\n      --split-head fc=race:0-6,gender:7-8,age:9-17"},
      {"train the heads alone: keep all whose name doesn't begin with h",
       "facet train --train train.csv --model resnet34 --pretrained resnet34.pth --freeze '[!h]*'"},
      {"the same run again, bit for bit on the same kind of machine",
       "facet train --config runs/faces/run.cfg --out runs/again"},
      {"a smaller model: half the channels, and one block less",
       "facet train --train train.csv --stem 32 --blocks 64x1,128x2 --hidden 128 --size 96"},
      {"two questions only, one with classes in an order of one's own",
       "facet train --train mine.csv --heads mood,glasses --classes mood=sad,calm,glad"}};
  command.exit_status = {
      {"75", "stopped by SIGTERM, SIGHUP or SIGUSR1, as batch systems send them: all is saved, --resume goes on"},
      {"130", "stopped by Ctrl-C (SIGINT): likewise"}};
  command.prints_progress = true;
  return command;
}

}  // namespace facet::app
