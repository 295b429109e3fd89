#include "models/classifier.h"

#include <fmt/format.h>

#include <set>

#include "facet/error.h"

namespace facet {

namespace {

void require_distinct_names(std::string_view model, const std::vector<Head>& heads) {
  std::set<std::string_view> names;
  for (const Head& head : heads) {
    if (head.name.empty()) throw Error(fmt::format("{}: a head has no name", model));
    if (!names.insert(head.name).second) throw Error(fmt::format("{}: two heads are called '{}'", model, head.name));
    std::set<std::string_view> classes;
    for (const std::string& name : head.classes) {
      if (name.empty()) throw Error(fmt::format("{}: a class of head '{}' has no name", model, head.name));
      if (classes.insert(name).second) continue;
      throw Error(fmt::format("{}: head '{}' has the class '{}' twice", model, head.name, name));
    }
  }
}

}  // namespace

Value image(Graph& graph, std::string_view model, const ModelOptions& options, int min_size) {
  const auto require = [&](const char* name, int side) {
    if (side >= min_size) return;
    throw Error(fmt::format("{}: {} {} found; at least {} is needed", model, name, side, min_size));
  };
  require("height", options.size.height);
  require("width", options.size.width);
  if (options.heads.empty()) throw Error(fmt::format("{}: no heads found; at least one is needed", model));
  require_distinct_names(model, options.heads);
  return graph.input({3, options.size.height, options.size.width});
}

void add_head(Value features, const Head& head, LinearOptions layer) {
  const std::int64_t classes = std::ssize(head.classes);
  if (head.ordinal) {
    coral_loss(
        coral(features, {.classes = classes, .weight_initializer = layer.weight_initializer, .name = layer.name}),
        head.name);
    return;
  }
  layer.features = classes;
  softmax_cross_entropy(linear(features, layer), head.name);
}

void add_heads(Value features, const ModelOptions& options, LinearOptions layer) {
  const Scope scope(features.graph(), "heads");
  for (const Head& head : options.heads) {
    layer.name = head.name;
    add_head(features, head, layer);
  }
}

}  // namespace facet
