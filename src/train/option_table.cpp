#include <fmt/ranges.h>

#include <cstdint>
#include <limits>

#include "facet/threads.h"
#include "train/option_row.h"
#include "train/recipe.h"

namespace facet {
namespace train {
namespace {

using Schedule = LearningRateSchedule;
using Rows = std::vector<OptionRow>;

constexpr std::int64_t many = 1'000'000;

NumberRange below_one() { return {.low = 0, .high = 1, .without_high = true}; }

/// Sets the group of rows.
Rows in_group(const char* title, Rows rows) {
  for (OptionRow& row : rows) row.option.group = title;
  return rows;
}

Rows data_rows() {
  return in_group(
      "Data", {flag({.name = "drop-last", .help = "leave out the last, smaller batch of each epoch", .fixed = true},
                    &TrainOptions::drop_last, true),
               flag({.name = "no-flip", .members = {"flip"}, .help = "don't mirror images at random", .fixed = true},
                    &TrainOptions::flip, false)});
}

Rows augmentation_rows() {
  using Preset = AugmentPreset;
  return in_group(
      "Random changes of training images",
      {choice({.name = "augment",
               .help = "set of changes: light is --random-resized-crop 0.5 --color-jitter 0.2,0.2,0.2,0; strong is "
                       "--random-resized-crop 0.25 --rand-augment 2,9 --random-erasing 0.1 --mixup 0.2 --cutmix 1; "
                       "the following options replace or add single ones, and 0 leaves one out"},
              &Augmentation::preset, {Preset::none, Preset::light, Preset::strong}),
       change({.name = "random-resized-crop",
               .argument = "SHARE",
               .help = "take a random part of the image, with this share of its area at least and an aspect ratio of "
                       "3/4 to 4/3, in place of the image; --resize then is for validation and prediction only",
               .fixed = true},
              &Augmentation::random_resized_crop),
       flag({.name = "trivial-augment",
             .help = "one of 14 changes, of random magnitude, for each image (TrivialAugmentWide)",
             .fixed = true},
            &Augmentation::trivial_augment, true),
       change({.name = "rand-augment",
               .argument = "N,M",
               .help = "N of 14 changes, one after the other, of magnitude M from 0 to 30 (RandAugment)",
               .fixed = true},
              &Augmentation::rand_augment),
       change({.name = "rotation",
               .argument = "DEGREES",
               .help = "rotate by up to that angle in either direction",
               .fixed = true},
              &Augmentation::rotation),
       change({.name = "affine",
               .argument = "DEGREES,TRANSLATE,SCALE,SHEAR",
               .help = "rotate by up to DEGREES, move by up to TRANSLATE times width and height, scale by 1 - SCALE to "
                       "1 + SCALE and shear by up to SHEAR degrees",
               .fixed = true},
              &Augmentation::affine),
       change({.name = "color-jitter",
               .argument = "B,C,S,H",
               .help = "change brightness, contrast and saturation by factors of 1 - B (C, S) to 1 + B (C, S), and "
                       "turn the hue by up to H turns (at most 0.5), in random order",
               .fixed = true},
              &Augmentation::color_jitter),
       change({.name = "grayscale", .argument = "P", .help = "make images grey with probability P", .fixed = true},
              &Augmentation::grayscale),
       change({.name = "blur",
               .argument = "P",
               .help = "blur images with probability P (Gaussian, with a standard deviation of 0.1 to 2 pixels)",
               .fixed = true},
              &Augmentation::blur),
       change({.name = "random-erasing",
               .argument = "P",
               .help = "fill a rectangle of 2 % to 33 % of the image with probability P",
               .fixed = true},
              &Augmentation::random_erasing),
       change({.name = "mixup",
               .argument = "ALPHA",
               .help = "mix each image, and its labels, with another one, in a proportion that is drawn from "
                       "Beta(ALPHA, ALPHA)",
               .fixed = true},
              &Augmentation::mixup),
       change({.name = "cutmix",
               .argument = "ALPHA",
               .help = "paste a rectangle of another image into each image, whose share of the area is drawn from "
                       "Beta(ALPHA, ALPHA), and mix the labels in that proportion; with --mixup, either is done to a "
                       "group of 8 images",
               .fixed = true},
              &Augmentation::cutmix),
       choice({.name = "interpolation",
               .help = "how rotated, sheared, moved and scaled images are computed",
               .fixed = true},
              &Augmentation::interpolation, {Interpolation::nearest, Interpolation::bilinear})});
}

Rows learning_rows() {
  return in_group(
      "Model and learning",
      {path({.name = "pretrained",
             .argument = "FILE",
             .help = "weights to start from: a safetensors file, or a file that torch.save wrote of a state_dict or of "
                     "a checkpoint that has one, with torchvision's names or facet's; a head's classes are matched by "
                     "name, and a classifier of other classes isn't loaded"},
            &TrainOptions::pretrained),
       head_split({.name = "split-head",
                   .argument = "LAYER=HEAD:FIRST-LAST,...",
                   .help =
                       "rows of a layer of --pretrained that belong to each head, counted from 0, such as "
                       "fc=race:0-6,gender:7-8,age:9-17 for FairFace's ResNet-34. Heads age (9 classes), gender (2) "
                       "and race (7) get FairFace's classes in its order; those of other heads are called 0, 1, 2, "
                       "..."}),
       patterns({.name = "freeze",
                 .argument = "PATTERN",
                 .help = "weights that training doesn't change, by name, such as 'layer1.*' or 'conv1.*'; gradients "
                         "that only they need are not computed, and batch normalisations among them keep and use their "
                         "running statistics",
                 .fixed = true},
                &TrainOptions::freeze),
       // A schedule that depends on the number of epochs records it.
       whole_number(
           {.name = "epochs", .argument = "N", .help = "total number of epochs, including those before a resume"},
           &TrainOptions::epochs, 1, many),
       progressive_resizing(
           {.name = "progressive-resizing",
            .argument = "SCALE[,DELAY,FINETUNE]",
            .help =
                "train on smaller images first: SCALE times --size in the first DELAY of the epochs (a fraction, 0.5 "
                "by default), then larger from epoch to epoch, and --size in the last FINETUNE of them (0.2); sides "
                "are rounded to multiples of 32, so that 0.5 of 224 is 128. Validation and the model file have --size. "
                "Not for the reference model, whose "
                "weights depend on the size",
            .fixed = true}),
       whole_number({.name = "batch",
                     .argument = "N",
                     .help = "batch size, in images, of all processes together",
                     .fixed = true},
                    &TrainOptions::batch, 1, 65536),
       whole_number({.name = "lr-scale-batch",
                     .argument = "N",
                     .help = "multiply --lr by the images of a step (--batch times --accumulate) / N, as large batches "
                             "need with a warm-up (Goyal et al. 2017, with N 256); 0: don't",
                     .fixed = true},
                    &TrainOptions::lr_scale_batch, 0, many),
       whole_number(
           {.name = "seed",
            .argument = "N",
            .help = "seed of every random draw; the same seed, numbers of processes and threads, and tuning record "
                    "give the same bits",
            .fixed = true},
           &TrainOptions::seed, 0, std::numeric_limits<std::uint64_t>::max())});
}

Rows optimizer_rows() {
  return in_group(
      "Optimiser (adam, adamw and sgd as PyTorch's; lars and lamb as in You et al. 2017 and 2020)",
      {choice({.name = "optimizer", .help = "the update rule", .fixed = true}, &TrainOptions::optimizer,
              optimizer_kinds()),
       number({.name = "lr",
               .members = {"learning_rate"},
               .argument = "RATE",
               .help = "learning rate",
               .default_text = "1e-4",
               .fixed = true},
              &TrainOptions::learning_rate, above(0)),
       betas({.name = "betas",
              .argument = "B1,B2",
              .help = "decay rates of the means of the gradients and of their squares in Adam, AdamW and LAMB",
              .fixed = true},
             below_one()),
       number({.name = "eps",
               .argument = "E",
               .help = "number that Adam, AdamW and LAMB add to the denominator",
               .default_text = "1e-8",
               .fixed = true},
              &TrainOptions::eps, above(0)),
       number({.name = "momentum", .argument = "M", .help = "momentum of SGD and LARS; 0: none", .fixed = true},
              &TrainOptions::momentum, below_one()),
       number({.name = "trust-coefficient",
               .argument = "C",
               .help = "LARS: the factor of the ratio of a parameter's norm to its gradient's",
               .fixed = true},
              &TrainOptions::trust_coefficient, above(0)),
       flag({.name = "nesterov", .help = "use Nesterov momentum in SGD", .fixed = true}, &TrainOptions::nesterov, true),
       number({.name = "weight-decay",
               .argument = "D",
               .help = "weight decay: Adam, SGD and LARS add it to the gradient as an L2 penalty, AdamW and LAMB apply "
                       "it apart from the gradient (PyTorch's default for AdamW is 0.01)",
               .fixed = true},
              &TrainOptions::weight_decay, at_least(0)),
       flag({.name = "no-bias-decay",
             .members = {"bias_decay"},
             .help = "don't apply weight decay, and the ratio of norms of LARS and LAMB, to biases and batch norms "
                     "(parameters of one dimension); by default they apply to them, as in PyTorch",
             .fixed = true},
            &TrainOptions::bias_decay, false),
       whole_number(
           {.name = "lr-fan-in",
            .argument = "N",
            .help = "multiply the learning rate of each weight whose fan-in (the number of inputs of each "
                    "output) exceeds N by N / fan-in, as Yang et al. 2022 do for Adam, whose step changes each "
                    "weight by about the rate: with many inputs, a few steps can leave a layer's ReLUs dead; "
                    "0: don't",
            .fixed = true},
           &TrainOptions::lr_fan_in, 0, many),
       whole_number({.name = "accumulate",
                     .argument = "N",
                     .help = "batches over which a step averages the gradients; the last step of an epoch takes the "
                             "batches that are left; a stop waits for the end of the step",
                     .fixed = true},
                    &TrainOptions::accumulate, 1, many),
       number({.name = "clip-norm",
               .argument = "NORM",
               .help = "scale a step's gradients down to this norm where the norm of all of them together is greater; "
                       "0: never",
               .fixed = true},
              &TrainOptions::clip_norm, at_least(0))});
}

/// Adds the number of epochs to the record where the schedule depends on it.
OptionRow with_epochs(OptionRow row) {
  row.record = [schedule = row.record](const TrainOptions& options, nlohmann::ordered_json& json) {
    schedule(options, json);
    json["schedule's epochs"] = options.schedule.follows_epochs() ? options.epochs : 0;
  };
  return row;
}

/// Records an option only with the schedule one-cycle, which alone uses it.
OptionRow of_one_cycle(OptionRow row) {
  row.record = [record = row.record](const TrainOptions& options, nlohmann::ordered_json& json) {
    if (options.schedule.kind == Schedule::Kind::one_cycle) record(options, json);
  };
  return row;
}

Rows schedule_rows() {
  return in_group(
      "Learning rate over the run",
      {with_epochs(
           choice({.name = "schedule",
                   .argument = "NAME",
                   .help = "constant, step (PyTorch's StepLR), cosine (CosineAnnealingLR, updated at each step) or "
                           "one-cycle (OneCycleLR); --lr is the highest rate",
                   .fixed = true},
                  &Schedule::kind, schedule_kinds())),
       number({.name = "warmup-epochs",
               .argument = "EPOCHS",
               .help = "number of epochs, or fraction of one, over which the rate rises linearly before the schedule "
                       "begins",
               .fixed = true},
              &Schedule::warmup_epochs, at_least(0)),
       number({.name = "warmup-factor", .argument = "F", .help = "the rate rises from F times --lr", .fixed = true},
              &Schedule::warmup_factor, {.low = 0, .high = 1, .without_low = true}),
       whole_number({.name = "step-size",
                     .argument = "EPOCHS",
                     .help = "step: epochs between reductions of the rate",
                     .fixed = true},
                    &Schedule::step_size, 1, many),
       number({.name = "gamma", .argument = "F", .help = "step: factor of each reduction", .fixed = true},
              &Schedule::gamma, above(0)),
       number(
           {.name = "eta-min", .argument = "RATE", .help = "cosine: rate to which the schedule falls", .fixed = true},
           &Schedule::eta_min, at_least(0)),
       number({.name = "pct-start",
               .argument = "SHARE",
               .help = "one-cycle: share of the run over which the rate rises",
               .fixed = true},
              &Schedule::pct_start, {.low = 0, .high = 1}),
       number({.name = "div-factor", .argument = "D", .help = "one-cycle: the rate rises from --lr / D", .fixed = true},
              &Schedule::div_factor, above(0)),
       number({.name = "final-div-factor",
               .argument = "D",
               .help = "one-cycle: the rate falls to its first value / D",
               .default_text = "1e4",
               .fixed = true},
              &Schedule::final_div_factor, above(0)),
       of_one_cycle(number({.name = "max-momentum",
                            .argument = "M",
                            .help = "one-cycle: SGD's momentum (where --momentum isn't 0), or Adam's beta1, falls from "
                                    "M to --base-momentum while the rate rises, and rises to M again while the rate "
                                    "falls; this overrides --momentum and --betas",
                            .fixed = true},
                           &Schedule::max_momentum, below_one())),
       of_one_cycle(
           number({.name = "base-momentum", .argument = "M", .help = "one-cycle: the lowest momentum", .fixed = true},
                  &Schedule::base_momentum, below_one())),
       of_one_cycle(flag({.name = "no-cycle-momentum",
                          .members = {"cycle_momentum"},
                          .help = "one-cycle: keep the momentum of --momentum and --betas",
                          .fixed = true},
                         &Schedule::cycle_momentum, false))});
}

Rows loss_rows() {
  return in_group(
      "Loss",
      {number({.name = "label-smoothing",
               .argument = "S",
               .help = "share of each label that is spread evenly over all classes, in training",
               .fixed = true},
              &TrainOptions::label_smoothing, below_one()),
       class_weights({.name = "class-weights",
                      .argument = "HEAD=W,W,...",
                      .help = "weights of a head's classes in its training loss, in the classes' order; "
                              "HEAD=balanced gives each class the same total weight over the training manifest's "
                              "labels, and balanced alone does so for every head that isn't named",
                      .fixed = true}),
       head_weights({.name = "head-weights",
                     .argument = "HEAD=W,...",
                     .help = "weights of the heads' losses in the total training loss; 1 for a head that isn't named",
                     .fixed = true})});
}

Rows average_rows() {
  return in_group(
      "Average and early stopping",
      {number({.name = "ema-decay",
               .argument = "D",
               .help = "keep an exponential moving average of the weights with the decay D at each step, such as "
                       "0.999; the average is validated and saved as the best; 0: none",
               .fixed = true},
              &TrainOptions::ema_decay, below_one()),
       whole_number({.name = "patience",
                     .argument = "EPOCHS",
                     .help = "stop after this many epochs without a higher mean validation accuracy; 0: never"},
                    &TrainOptions::patience, 0, many)});
}

/// The row of the precision. fixed_options() records the one that `automatic` has chosen.
OptionRow precision_row() {
  OptionRow row =
      choice({.name = "precision",
              .help = "type of activations and products: f32, bf16 (needs a CPU with bf16 instructions), or auto, "
                      "which measures which is faster on this machine",
              .fixed = true},
             &TrainOptions::precision, {PrecisionChoice::automatic, PrecisionChoice::f32, PrecisionChoice::bf16});
  row.record = nullptr;
  return row;
}

Rows computing_rows() {
  return in_group(
      "Computing",
      {precision_row(),
       whole_number({.name = "threads",
                     .argument = "N",
                     .help = "compute threads of each process; 0: OMP_NUM_THREADS, else all cores that the process may "
                             "use (from 16 cores on, minus the decoding threads), or its share of cores that other "
                             "processes of the run may use"},
                    &TrainOptions::threads, 0, max_threads),
       whole_number(
           {.name = "loader-threads",
            .argument = "N",
            .help = "decoding threads of each process; 0: as many as needed, up to the cores that the process may use"},
           &TrainOptions::loader_threads, 0, max_threads),
       flag({.name = "no-tune",
             .members = {"tune"},
             .help = "don't time candidate primitives before the first step; use oneDNN's defaults"},
            &TrainOptions::tune, false),
       flag(
           {.name = "save-memory",
            .help = "in training, run cheap operations again in the backward pass instead of keeping their results: it "
                    "takes less memory, is a little slower and gives the same bits"},
           &TrainOptions::save_memory, true),
       path({.name = "tuning-record",
             .argument = "FILE",
             .help = "tuning.json of an earlier run, whose primitives and precision are used without timing",
             .former_name = "choices"},
            &TrainOptions::tuning_record),
       path({.name = "tuning-cache",
             .argument = "DIR",
             .help = "folder that keeps the results of tuning for later runs on the same kind of machine, or 'none' "
                     "(default: $XDG_CACHE_HOME/facet, else ~/.cache/facet)",
             .former_name = "choice-cache"},
            &TrainOptions::tuning_cache, "none")});
}

Rows process_rows() {
  return in_group(
      "Several processes (mpirun, srun)",
      {flag({.name = "sync-batch-norm",
             .help = "normalise by the mean and variance of all processes' images, as one process with the "
                     "whole batch does, instead of those of each process's own (PyTorch: SyncBatchNorm)",
             .fixed = true},
            &TrainOptions::sync_batch_norm, true),
       choice({.name = "reduce",
               .help = "type in which gradients are sent to other hosts: f32, or bf16, which halves what is "
                       "sent; they are added in f32",
               .fixed = true},
              &TrainOptions::reduce, {Precision::f32, Precision::bf16})});
}

Rows run_rows() {
  return in_group(
      "Run",
      {path({.name = "out",
             .argument = "DIR",
             .help = "the run's folder (default: runs/ and the date and time, such as runs/2026-01-31_09-30-00)"},
            &TrainOptions::out),
       whole_number(
           {.name = "log-every",
            .argument = "N",
            .help = "steps between two lines of progress within an epoch, in the terminal and in steps.csv and "
                    "steps.jsonl; 0: none"},
           &TrainOptions::log_every, 0, many),
       flag({.name = "tensorboard",
             .help = "write metrics for TensorBoard too: `tensorboard --logdir DIR` shows those of the runs below DIR; "
                     "of each step, or with --log-every of every N-th, and of each epoch"},
            &TrainOptions::tensorboard, true),
       whole_number({.name = "histograms",
                     .members = {"histogram_every"},
                     .argument = "N",
                     .help = "with --tensorboard: steps between two histograms of each weight and of its gradient, "
                             "as its update has used it; 0: none"},
                    &TrainOptions::histogram_every, 0, many),
       whole_number(
           {.name = "profile-steps",
            .argument = "N",
            .help = "after two steps, profile N: print where their time goes, with the communication of "
                    "several processes, and write it to profile.json; with --progressive-resizing, of steps of "
                    "the first size; 0: none"},
           &TrainOptions::profile_steps, 0, many),
       whole_number(
           {.name = "keep", .argument = "N", .help = "number of epochs whose weights are kept beside best and last"},
           &TrainOptions::keep, 0, static_cast<int>(many)),
       number({.name = "checkpoint-minutes",
               .argument = "MINUTES",
               .help = "minutes between checkpoints within an epoch; 0: save only at the end of an epoch"},
              &TrainOptions::checkpoint_minutes, at_least(0)),
       flag({.name = "resume",
             .help = "resume the run in --out from its last checkpoint, also within an epoch, with the options of its "
                     "run.cfg (unless --config names another file); where there is no checkpoint yet, begin a run, so "
                     "that a requeued job needs no other command"},
            &TrainOptions::resume, true)});
}

}  // namespace

const std::vector<OptionRow>& option_table() {
  static const Rows table = [] {
    Rows all;
    for (const auto& rows : {data_rows, augmentation_rows, learning_rows, optimizer_rows, schedule_rows, loss_rows,
                             average_rows, computing_rows, process_rows, run_rows}) {
      for (OptionRow& row : rows()) all.push_back(std::move(row));
    }
    return all;
  }();
  return table;
}

}  // namespace train

const std::vector<TrainOption>& train_options() {
  static const std::vector<TrainOption> options = [] {
    std::vector<TrainOption> all;
    for (const train::OptionRow& row : train::option_table()) all.push_back(row.option);
    return all;
  }();
  return options;
}

const TrainOption& train_option(std::string_view name) {
  for (const TrainOption& option : train_options()) {
    if (option.name == name) return option;
  }
  throw Error(fmt::format("there is no option of training called '{}'", name));
}

const std::vector<TrainRecipe>& train_recipes() {
  static const std::vector<TrainRecipe> recipes{{.name = "faces",
                                                 .help = "aligned faces, from random weights, in short runs",
                                                 .options = {{"epochs", "20"},
                                                             {"affine", "10,0.05,0.1,0"},
                                                             {"color-jitter", "0.2,0.2,0.2,0"},
                                                             {"lr", "1e-3"},
                                                             {"lr-fan-in", "2304"},
                                                             {"schedule", "cosine"},
                                                             {"warmup-epochs", "1"},
                                                             {"label-smoothing", "0.1"},
                                                             {"ema-decay", "0.99"}}}};
  return recipes;
}

const TrainRecipe& train_recipe(std::string_view name) {
  std::vector<std::string> names;
  for (const TrainRecipe& recipe : train_recipes()) {
    if (recipe.name == name) return recipe;
    names.push_back(recipe.name);
  }
  throw Error(fmt::format("recipe is '{}'; allowed: {}", name, fmt::join(names, ", ")));
}

void apply_recipe(TrainOptions& options, const TrainRecipe& recipe) {
  for (const auto& [name, text] : recipe.options) train_option(name).set(options, {text}, recipe.name + ": " + name);
}

}  // namespace facet
