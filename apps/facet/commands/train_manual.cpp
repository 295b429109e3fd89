#include "cli/command.h"
#include "cli/manifests.h"
#include "cli/shared_options.h"

namespace facet::app {
namespace {

OptionGroup data_options() {
  OptionGroup group{
      "Data",
      {{.name = "train",
        .argument = "CSV",
        .help =
            "training manifest: a column of file names and one for each head (FairFace's manifests need no change)"},
       {.name = "validation", .argument = "CSV", .help = "manifest for the validation after each epoch"}}};
  for (Option& option : manifest_options()) group.options.push_back(std::move(option));
  group.options.push_back(bad_images_option("skip them and list them in the run's skipped.csv"));
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
  return {"Model and learning",
          {model_option(),
           size_option(),
           resize_option(),
           {.name = "pretrained",
            .argument = "FILE",
            .help = "weights to start from: a safetensors file, or a file that torch.save wrote of a state_dict or of "
                    "a checkpoint that has one, with torchvision's names or facet's; a head's classes are matched by "
                    "name, and a classifier of other classes isn't loaded"},
           split_head_option("rows of a layer of --pretrained that belong to each head"),
           freeze_option(),
           {.name = "epochs",
            .argument = "N",
            .help = "total number of epochs, including those before a resume",
            .fallback = "100"},
           {.name = "batch", .argument = "N", .help = "batch size, in images", .fallback = "64"},
           {.name = "seed",
            .argument = "N",
            .help = "seed of every random draw; the same seed, number of threads and tuning record give the same bits",
            .fallback = "0"}}};
}

OptionGroup computing_options() {
  return {"Computing",
          {precision_option("auto"),
           {.name = "threads",
            .argument = "N",
            .help = "compute threads; 0: OMP_NUM_THREADS, else all cores that the process may use (from 16 cores on, "
                    "minus the decoding threads)",
            .fallback = "0"},
           loader_threads_option(),
           pin_option(),
           {.name = "no-tune",
            .argument = "",
            .help = "don't time candidate primitives before the first step; use oneDNN's defaults",
            .value = Option::Value::none},
           save_memory_option(),
           {.name = "tuning-record",
            .argument = "FILE",
            .help = "tuning.json of an earlier run, whose primitives and precision are used without timing",
            .former_name = "choices"},
           tuning_cache_option()}};
}

OptionGroup run_options() {
  return {"Run",
          {{.name = "out",
            .argument = "DIR",
            .help = "the run's folder (default: runs/ and the date and time, such as runs/2026-01-31_09-30-00)"},
           {.name = "keep",
            .argument = "N",
            .help = "number of epochs whose weights are kept beside best and last",
            .fallback = "0"},
           {.name = "checkpoint-minutes",
            .argument = "MINUTES",
            .help = "minutes between checkpoints within an epoch; 0: save only at the end of an epoch",
            .fallback = "0"},
           {.name = "resume",
            .argument = "",
            .help = "resume the run in --out from its last checkpoint, also within an epoch, with the options of its "
                    "run.cfg (unless --config names another file); where there is no checkpoint yet, start a new run",
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
      "are the paper's: Adam with a learning rate of 1e-4, a batch size of 64 and 100 epochs.\n\n"
      "The run's folder holds checkpoints/best.safetensors (the highest mean validation accuracy) and "
      "checkpoints/last.safetensors, metrics.csv and metrics.jsonl (a line for each epoch), tuning.json (the tuning "
      "record) and run.cfg (the options, with which the run can be repeated); if a run fails, error.txt says why. On "
      "Ctrl-C, SIGTERM, SIGHUP (unless nohup is used) and SIGUSR1, the run finishes its step, saves and says how to "
      "resume; a further signal, except SIGUSR1, that comes a second or more after the first ends it at once. An image "
      "that can't be read also ends the run, after the steps before it are saved. Only one process at a time can use a "
      "run's folder.";
  command.groups = {data_options(), learning_options(), reference_shape_options()};
  for (OptionGroup& group : recipe_options()) command.groups.push_back(std::move(group));
  command.groups.push_back(computing_options());
  command.groups.push_back(run_options());
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
      {"two heads only, one with its classes in a given order",
       "facet train --train mine.csv --heads mood,glasses --classes mood=sad,calm,glad"}};
  command.exit_status = {
      {"75",
       "stopped by SIGTERM, SIGHUP or SIGUSR1, as batch systems send them; everything is saved, --resume continues"},
      {"130", "stopped by Ctrl-C (SIGINT); everything is saved, --resume continues"}};
  command.prints_progress = true;
  return command;
}

}  // namespace facet::app
