#include "facet/models.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <utility>

#include "facet/error.h"

namespace facet {

namespace {

constexpr std::string_view varied = "reference";

/// Those that have one shape only.
using Builder = Graph (*)(const ModelOptions&);
constexpr std::array<std::pair<std::string_view, Builder>, 7> fixed{{{"resnet18", &resnet18},
                                                                     {"resnet34", &resnet34},
                                                                     {"resnet50", &resnet50},
                                                                     {"densenet121", &densenet121},
                                                                     {"densenet161", &densenet161},
                                                                     {"alexnet", &alexnet},
                                                                     {"mobilenet_v2", &mobilenet_v2}}};

}  // namespace

Graph build_model(std::string_view name, const ModelOptions& options, std::string_view shape) {
  if (name == varied) return reference(options, parse_reference_shape(shape));
  for (const auto& [known, build] : fixed) {
    if (known != name) continue;
    if (shape.empty()) return build(options);
    throw Error(fmt::format("model {} found with a shape of its own; allowed: {}", name, varied));
  }
  throw Error(fmt::format("model '{}' found; allowed: {}", name, fmt::join(model_names(), ", ")));
}

std::vector<std::string> model_names() {
  std::vector<std::string> names{std::string(varied)};
  for (const auto& [name, build] : fixed) names.emplace_back(name);
  return names;
}

}  // namespace facet
