#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "cli/shared_options.h"
#include "facet/error.h"
#include "facet/train_options.h"

namespace facet::app {
namespace {

Option option_of(const TrainOption& row) {
  const auto value = [&] {
    switch (row.value) {
      case TrainOption::Value::many:
        return Option::Value::many;
      case TrainOption::Value::flag:
        return Option::Value::none;
      default:
        return Option::Value::one;
    }
  };
  return {.name = row.name,
          .argument = row.argument,
          .help = row.help,
          .fallback = row.default_text,
          .value = value(),
          .former_name = row.former_name};
}

/// The texts that were given for a row.
std::vector<std::string> texts_of(const Options& options, const TrainOption& row) {
  if (row.value == TrainOption::Value::flag) return {options.on(row.name) ? "yes" : "no"};
  if (!row.choices.empty()) return {options.one_of(row.name, row.choices)};
  return options.list(row.name);
}

}  // namespace

Option training_option(const std::string& name, const std::string& help) {
  Option option = option_of(train_option(name));
  if (!help.empty()) option.help = help;
  return option;
}

std::vector<OptionGroup> training_option_groups() {
  std::vector<OptionGroup> groups;
  for (const TrainOption& row : train_options()) {
    if (groups.empty() || groups.back().title != row.group) groups.push_back({row.group, {}});
    groups.back().options.push_back(option_of(row));
  }
  return groups;
}

Option recipe_option() {
  std::vector<std::string> names, texts;
  for (const TrainRecipe& recipe : train_recipes()) {
    std::string text = fmt::format("{} ({}):", recipe.name, recipe.help);
    for (const auto& [name, value] : recipe.options) text += fmt::format(" --{} {}", name, value);
    names.push_back(recipe.name);
    texts.push_back(text);
  }
  return {.name = "recipe",
          .argument = fmt::format("{}", fmt::join(names, "|")),
          .help = fmt::format("options of a recipe, except those given otherwise; --augment replaces all of its random "
                              "changes: {}",
                              fmt::join(texts, "; "))};
}

void take_recipe(Options& options) {
  if (!options.given("recipe")) return;
  std::vector<std::string> names;
  for (const TrainRecipe& recipe : train_recipes()) names.push_back(recipe.name);
  const TrainRecipe& recipe = train_recipe(options.one_of("recipe", names));
  for (const auto& [name, value] : recipe.options) {
    // --augment takes the place of all of the recipe's random changes.
    if (options.given("augment") && train_option(name).group == train_option("augment").group) continue;
    options.complete(name, value, fmt::format("--recipe {}: --{}", recipe.name, name));
  }
}

TrainOptions read_training_options(const Options& options) {
  TrainOptions training;
  for (const TrainOption& row : train_options()) {
    if (!options.given(row.name)) continue;
    const std::vector<std::string> texts = texts_of(options, row);
    try {
      row.set(training, texts, options.origin(row.name));
    } catch (const Error& error) {
      throw UsageError(error.what());
    }
  }
  return training;
}

}  // namespace facet::app
