#include "facet/models.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <utility>

#include "facet/error.h"

namespace facet {

namespace {

Graph reference_of_the_paper(const ModelOptions& options) { return reference(options); }

using Builder = Graph (*)(const ModelOptions&);
constexpr std::array<std::pair<std::string_view, Builder>, 8> models{{{"reference", &reference_of_the_paper},
                                                                      {"resnet18", &resnet18},
                                                                      {"resnet34", &resnet34},
                                                                      {"resnet50", &resnet50},
                                                                      {"densenet121", &densenet121},
                                                                      {"densenet161", &densenet161},
                                                                      {"alexnet", &alexnet},
                                                                      {"mobilenet_v2", &mobilenet_v2}}};

}  // namespace

Graph build_model(std::string_view name, const ModelOptions& options) {
  for (const auto& [known, build] : models) {
    if (known == name) return build(options);
  }
  throw Error(fmt::format("model '{}' found; allowed: {}", name, fmt::join(model_names(), ", ")));
}

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const auto& [name, build] : models) names.emplace_back(name);
  return names;
}

}  // namespace facet
