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

}  // namespace

std::vector<OptionGroup> recipe_options() { return {optimizer_options()}; }

void read_recipe(const Options& options, TrainOptions& training) { read_optimizer(options, training); }

}  // namespace facet::app
