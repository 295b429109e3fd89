#include "reproduce_manual.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "manifests.h"
#include "shared_options.h"
#include "table1.h"

namespace facet::app {

Command reproduce_manual() {
  Command command;
  command.name = "reproduce";
  command.summary = "train the paper's five models and set them side by side";
  command.usage = "table1 --data DIR [--out DIR] [options]";
  command.description = fmt::format(
      "Trains the models of the paper's Table 1 on one data set, with the paper's settings (Adam with a learning rate "
      "of 1e-4, batches of 64, 100 epochs), and prints the table beside the paper's figures: accuracies, "
      "parameters, images/s, peak memory, hours. The models are {}. The paper's figures are of FairFace: only a table "
      "made on FairFace's images, which facet doesn't bring along, compares with them.\n\n"
      "Each model is trained by a process of its own, facet train, in a run's folder of its name in --out; the table "
      "is written there after each, as table1.md, table1.csv and table1.json. The same command goes on where an "
      "earlier one was stopped or killed, within a model too; what is trained already isn't trained again, and more "
      "epochs may be asked for. A model that fails doesn't keep the others from being trained. Where a model's batch "
      "wouldn't fit into memory, it is trained with --save-memory, and its row says so.",
      fmt::join(table1_models(), ", "));
  OptionGroup data{"Data",
                   {{.name = "data",
                     .argument = "DIR",
                     .help = "folder with the manifests: fairface_label_train.csv and fairface_label_val.csv (with "
                             "FairFace's folders train and val), or train.csv and val.csv or validation.csv"},
                    heads_option()}};
  for (Option& option : column_options()) data.options.push_back(std::move(option));
  command.groups = {
      std::move(data),
      {"Models and learning",
       {{.name = "models",
         .argument = "A,B,...",
         .help = "models to train now; the rows of the others show what --out holds of them",
         .fallback = fmt::format("{}", fmt::join(table1_models(), ","))},
        size_option(),
        resize_option(),
        {.name = "epochs", .argument = "N", .help = "epochs of each model", .fallback = "100"},
        {.name = "batch", .argument = "N", .help = "images a batch", .fallback = "64"},
        {.name = "seed", .argument = "N", .help = "seed of every random draw", .fallback = "0"}}},
      {"Computing",
       {precision_option("auto"),
        {.name = "threads", .argument = "N", .help = "compute threads, as of facet train", .fallback = "0"},
        {.name = "loader-threads",
         .argument = "N",
         .help = "decoding threads; 0: as many as needed, up to the cores that the process may use",
         .fallback = "0"},
        pin_option(),
        {.name = "no-tune",
         .argument = "",
         .help = "don't time candidate primitives before a model's first step",
         .value = Option::Value::none},
        choice_cache_option()}},
      {"Results",
       {{.name = "out", .argument = "DIR", .help = "folder of the runs and the table", .fallback = "runs/table1"}}}};
  command.examples = {{"FairFace, as in the paper", "facet reproduce table1 --data fairface --out runs/table1"},
                      {"a first look, two models only",
                       "facet reproduce table1 --data faces --epochs 5 --models reference,mobilenet_v2"}};
  command.exit_status = {{"75", "stopped by SIGTERM, SIGHUP or SIGUSR1; the same command goes on"},
                         {"130", "stopped by Ctrl-C (SIGINT); likewise"}};
  command.prints_progress = true;
  return command;
}

}  // namespace facet::app
