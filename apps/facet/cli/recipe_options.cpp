#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cli/shared_options.h"

namespace facet::app {
namespace {

constexpr const char* balanced = "balanced";

OptionGroup optimizer_options() {
  return {
      "Optimiser (adam, adamw and sgd as PyTorch's; lars and lamb as in You et al. 2017 and 2020)",
      {{.name = "optimizer", .argument = "adam|adamw|sgd|lars|lamb", .help = "the update rule", .fallback = "adam"},
       {.name = "lr", .argument = "RATE", .help = "learning rate", .fallback = "1e-4"},
       {.name = "betas",
        .argument = "B1,B2",
        .help = "decay rates of the means of the gradients and of their squares in Adam, AdamW and LAMB",
        .fallback = "0.9,0.999"},
       {.name = "eps",
        .argument = "E",
        .help = "number that Adam, AdamW and LAMB add to the denominator",
        .fallback = "1e-8"},
       {.name = "momentum", .argument = "M", .help = "momentum of SGD and LARS; 0: none", .fallback = "0.9"},
       {.name = "trust-coefficient",
        .argument = "C",
        .help = "LARS: the factor of the ratio of a parameter's norm to its gradient's",
        .fallback = "0.001"},
       {.name = "nesterov", .argument = "", .help = "use Nesterov momentum in SGD", .value = Option::Value::none},
       {.name = "weight-decay",
        .argument = "D",
        .help =
            "weight decay: Adam, SGD and LARS add it to the gradient as an L2 penalty, AdamW and LAMB apply it apart "
            "from the gradient (PyTorch's default for AdamW is 0.01)",
        .fallback = "0"},
       {.name = "no-bias-decay",
        .argument = "",
        .help =
            "don't apply weight decay, and the ratio of norms of LARS and LAMB, to biases and batch norms (parameters "
            "of one dimension); by default they apply to them, as in PyTorch",
        .value = Option::Value::none},
       {.name = "accumulate",
        .argument = "N",
        .help = "batches over which a step averages the gradients; the last step of an epoch takes the batches that "
                "are left; a stop waits for the end of the step",
        .fallback = "1"},
       {.name = "clip-norm",
        .argument = "NORM",
        .help =
            "scale a step's gradients down to this norm where the norm of all of them together is greater; 0: never",
        .fallback = "0"}}};
}

OptionGroup schedule_options() {
  return {
      "Learning rate over the run",
      {{.name = "schedule",
        .argument = "NAME",
        .help = "constant, step (PyTorch's StepLR), cosine (CosineAnnealingLR, updated at each step) or one-cycle "
                "(OneCycleLR); --lr is the highest rate",
        .fallback = "constant"},
       {.name = "warmup-epochs",
        .argument = "EPOCHS",
        .help = "number of epochs, or fraction of one, over which the rate rises linearly before the schedule begins",
        .fallback = "0"},
       {.name = "warmup-factor", .argument = "F", .help = "the rate rises from F times --lr", .fallback = "0.01"},
       {.name = "step-size",
        .argument = "EPOCHS",
        .help = "step: epochs between reductions of the rate",
        .fallback = "30"},
       {.name = "gamma", .argument = "F", .help = "step: factor of each reduction", .fallback = "0.1"},
       {.name = "eta-min", .argument = "RATE", .help = "cosine: rate to which the schedule falls", .fallback = "0"},
       {.name = "pct-start",
        .argument = "SHARE",
        .help = "one-cycle: share of the run over which the rate rises",
        .fallback = "0.3"},
       {.name = "div-factor", .argument = "D", .help = "one-cycle: the rate rises from --lr / D", .fallback = "25"},
       {.name = "final-div-factor",
        .argument = "D",
        .help = "one-cycle: the rate falls to its first value / D",
        .fallback = "1e4"},
       {.name = "max-momentum",
        .argument = "M",
        .help = "one-cycle: SGD's momentum (where --momentum isn't 0), or Adam's beta1, falls from M to "
                "--base-momentum while the rate rises, and rises to M again while the rate falls; this overrides "
                "--momentum and --betas",
        .fallback = "0.95"},
       {.name = "base-momentum", .argument = "M", .help = "one-cycle: the lowest momentum", .fallback = "0.85"},
       {.name = "no-cycle-momentum",
        .argument = "",
        .help = "one-cycle: keep the momentum of --momentum and --betas",
        .value = Option::Value::none}}};
}

OptionGroup loss_options() {
  return {"Loss",
          {{.name = "label-smoothing",
            .argument = "S",
            .help = "share of each label that is spread evenly over all classes, in training",
            .fallback = "0"},
           {.name = "class-weights",
            .argument = "HEAD=W,W,...",
            .help = "weights of a head's classes in its training loss, in the classes' order; HEAD=balanced gives each "
                    "class the same total weight over the training manifest's labels, and balanced alone does so for "
                    "every head that isn't named",
            .value = Option::Value::many},
           {.name = "head-weights",
            .argument = "HEAD=W,...",
            .help = "weights of the heads' losses in the total training loss; 1 for a head that isn't named"}}};
}

OptionGroup average_options() {
  return {"Average and early stopping",
          {{.name = "ema-decay",
            .argument = "D",
            .help = "keep an exponential moving average of the weights with the decay D at each step, such as 0.999; "
                    "the average is validated and saved as the best; 0: none",
            .fallback = "0"},
           {.name = "patience",
            .argument = "EPOCHS",
            .help = "stop after this many epochs without a higher mean validation accuracy; 0: never",
            .fallback = "0"}}};
}

/// Splits NAME=VALUE. @throws UsageError naming the option and the form that it needs.
std::pair<std::string, std::string> cut_at_equals(const Options& options, const std::string& name,
                                                  const std::string& text, const std::string& form) {
  const std::size_t equals = text.find('=');
  if (equals != 0 && equals != std::string::npos) return {text.substr(0, equals), text.substr(equals + 1)};
  throw UsageError(fmt::format("{} is '{}'; {} is needed", options.origin(name), text, form));
}

ClassWeights parse_class_weights(const Options& options, const std::string& text) {
  if (text == balanced) return {.balanced = true};
  ClassWeights weights;
  const std::string origin = options.origin("class-weights");
  for (const std::string& word : split_at_commas(text, origin)) weights.values.push_back(parse_number(word, origin));
  return weights;
}

void read_loss(const Options& options, TrainOptions& training) {
  training.label_smoothing = options.at_least("label-smoothing", 0);
  for (const std::string& text : options.list("class-weights")) {
    if (text == balanced) continue;
    const auto [head, weights] =
        cut_at_equals(options, "class-weights", text, "HEAD=W,W,..., HEAD=balanced or balanced");
    if (training.class_weights.emplace(head, parse_class_weights(options, weights)).second) continue;
    throw UsageError(fmt::format("{} has two sets of class weights for {}", options.origin("class-weights"), head));
  }
  for (const std::string& word : options.words("head-weights")) {
    const auto [head, weight] = cut_at_equals(options, "head-weights", word, "HEAD=W,...");
    if (training.head_weights.emplace(head, parse_number(weight, options.origin("head-weights"))).second) continue;
    throw UsageError(fmt::format("{} has {} twice", options.origin("head-weights"), head));
  }
}

void read_optimizer(const Options& options, TrainOptions& training) {
  training.optimizer = parse_optimizer(options.one_of("optimizer", {"adam", "adamw", "sgd", "lars", "lamb"}));
  training.learning_rate = options.above("lr", 0);
  const std::vector<double> betas = options.numbers("betas");
  if (betas.size() != 2) {
    throw UsageError(fmt::format("{} is '{}'; two numbers are needed, such as 0.9,0.999", options.origin("betas"),
                                 options.text("betas")));
  }
  training.beta1 = betas[0];
  training.beta2 = betas[1];
  training.eps = options.above("eps", 0);
  training.momentum = options.at_least("momentum", 0);
  training.trust_coefficient = options.above("trust-coefficient", 0);
  training.nesterov = options.on("nesterov");
  training.weight_decay = options.at_least("weight-decay", 0);
  training.bias_decay = !options.on("no-bias-decay");
  training.accumulate = options.integer("accumulate", 1, 1'000'000);
  training.clip_norm = options.at_least("clip-norm", 0);
}

void read_schedule(const Options& options, LearningRateSchedule& schedule) {
  schedule.kind = parse_schedule(options.one_of("schedule", {"constant", "step", "cosine", "one-cycle"}));
  schedule.warmup_epochs = options.at_least("warmup-epochs", 0);
  schedule.warmup_factor = options.above("warmup-factor", 0);
  schedule.step_size = options.integer("step-size", 1, 1'000'000);
  schedule.gamma = options.above("gamma", 0);
  schedule.eta_min = options.at_least("eta-min", 0);
  schedule.pct_start = options.at_least("pct-start", 0);
  schedule.div_factor = options.above("div-factor", 0);
  schedule.final_div_factor = options.above("final-div-factor", 0);
  schedule.max_momentum = options.at_least("max-momentum", 0);
  schedule.base_momentum = options.at_least("base-momentum", 0);
  schedule.cycle_momentum = !options.on("no-cycle-momentum");
}

}  // namespace

std::vector<OptionGroup> recipe_options() {
  return {optimizer_options(), schedule_options(), loss_options(), average_options()};
}

void read_recipe(const Options& options, TrainOptions& training) {
  read_optimizer(options, training);
  read_schedule(options, training.schedule);
  read_loss(options, training);
  training.ema_decay = options.at_least("ema-decay", 0);
  training.patience = options.integer("patience", 0, 1'000'000);
}

void balance_other_heads(const Options& options, const std::vector<Head>& heads, TrainOptions& training) {
  const std::vector<std::string>& weights = options.list("class-weights");
  if (std::find(weights.begin(), weights.end(), balanced) == weights.end()) return;
  for (const Head& head : heads) training.class_weights.emplace(head.name, ClassWeights{.balanced = true});
}

}  // namespace facet::app
