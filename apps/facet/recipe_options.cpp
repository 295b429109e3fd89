#include "recipe_options.h"

#include <fmt/format.h>

namespace facet::app {
namespace {

OptionGroup optimizer_options() {
  return {"Optimiser (PyTorch's of these names)",
          {{.name = "optimizer", .argument = "adam|adamw|sgd", .help = "the update rule", .fallback = "adam"},
           {.name = "lr", .argument = "RATE", .help = "learning rate", .fallback = "1e-4"},
           {.name = "betas",
            .argument = "B1,B2",
            .help = "decay of Adam's and AdamW's mean of gradients and of their squares",
            .fallback = "0.9,0.999"},
           {.name = "eps", .argument = "E", .help = "what Adam and AdamW add to a root", .fallback = "1e-8"},
           {.name = "momentum", .argument = "M", .help = "of SGD; 0: none", .fallback = "0.9"},
           {.name = "nesterov", .argument = "", .help = "Nesterov's momentum in SGD", .value = Option::Value::none},
           {.name = "weight-decay",
            .argument = "D",
            .help = "L2 penalty: of Adam and SGD in the gradient, of AdamW apart from it (where PyTorch's default is "
                    "0.01)",
            .fallback = "0"},
           {.name = "no-bias-decay",
            .argument = "",
            .help = "weight decay spares biases and batch norms (parameters of one dimension); as in PyTorch, it "
                    "doesn't without this",
            .value = Option::Value::none}}};
}

OptionGroup schedule_options() {
  return {"Learning rate over the run",
          {{.name = "schedule",
            .argument = "NAME",
            .help = "constant, step, cosine or one-cycle (PyTorch's StepLR; CosineAnnealingLR and OneCycleLR, step by "
                    "step; --lr is the highest rate)",
            .fallback = "constant"},
           {.name = "warmup-epochs",
            .argument = "EPOCHS",
            .help = "epochs, or a fraction, over which the rate first rises in equal steps, before the schedule begins",
            .fallback = "0"},
           {.name = "warmup-factor", .argument = "F", .help = "it rises from F times --lr", .fallback = "0.01"},
           {.name = "step-size", .argument = "EPOCHS", .help = "step: epochs from fall to fall", .fallback = "30"},
           {.name = "gamma", .argument = "F", .help = "step: what the rate is multiplied by", .fallback = "0.1"},
           {.name = "eta-min", .argument = "RATE", .help = "cosine: the rate that it falls to", .fallback = "0"},
           {.name = "pct-start",
            .argument = "SHARE",
            .help = "one-cycle: the share of the run over which the rate rises",
            .fallback = "0.3"},
           {.name = "div-factor", .argument = "D", .help = "one-cycle: it rises from --lr / D", .fallback = "25"},
           {.name = "final-div-factor",
            .argument = "D",
            .help = "one-cycle: it falls to this part of what it rose from",
            .fallback = "1e4"}}};
}

void read_optimizer(const Options& options, TrainOptions& training) {
  training.optimizer = parse_optimizer(options.one_of("optimizer", {"adam", "adamw", "sgd"}));
  training.learning_rate = options.above("lr", 0);
  const std::vector<double> betas = options.numbers("betas");
  if (betas.size() != 2) {
    throw UsageError(
        fmt::format("{} is '{}'; two numbers are needed: 0.9,0.999", options.origin("betas"), options.text("betas")));
  }
  training.beta1 = betas[0];
  training.beta2 = betas[1];
  training.eps = options.above("eps", 0);
  training.momentum = options.at_least("momentum", 0);
  training.nesterov = options.on("nesterov");
  training.weight_decay = options.at_least("weight-decay", 0);
  training.bias_decay = !options.on("no-bias-decay");
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
}

}  // namespace

std::vector<OptionGroup> recipe_options() { return {optimizer_options(), schedule_options()}; }

void read_recipe(const Options& options, TrainOptions& training) {
  read_optimizer(options, training);
  read_schedule(options, training.schedule);
}

}  // namespace facet::app
