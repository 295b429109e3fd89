#include "facet/models.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "facet/error.h"

namespace facet {

namespace {

constexpr std::string_view varied = "reference";

/// A model that torchvision has too.
struct Peer {
  std::string_view name;
  Graph (*build)(const ModelOptions&);
  std::string_view classifier;  ///< torchvision's layer that the heads replace
};
constexpr std::array<Peer, 7> peers{{{"resnet18", &resnet18, "fc"},
                                     {"resnet34", &resnet34, "fc"},
                                     {"resnet50", &resnet50, "fc"},
                                     {"densenet121", &densenet121, "classifier"},
                                     {"densenet161", &densenet161, "classifier"},
                                     {"alexnet", &alexnet, "classifier.6"},
                                     {"mobilenet_v2", &mobilenet_v2, "classifier.1"}}};

/// Returns null when no model has that name.
const Peer* find_peer(std::string_view name) {
  const auto* const found =
      std::find_if(peers.begin(), peers.end(), [&](const Peer& peer) { return peer.name == name; });
  return found == peers.end() ? nullptr : found;
}

}  // namespace

Graph build_model(std::string_view name, const ModelOptions& options, std::string_view shape) {
  if (name == varied) return reference(options, parse_reference_shape(shape));
  const Peer* const peer = find_peer(name);
  if (peer == nullptr) {
    throw Error(fmt::format("model '{}' found; allowed: {}", name, fmt::join(model_names(), ", ")));
  }
  if (!shape.empty())
    throw Error(fmt::format("model {} has a fixed shape; only that of {} can be chosen", name, varied));
  return peer->build(options);
}

std::string torchvision_classifier(std::string_view name) {
  if (const Peer* const peer = find_peer(name)) return std::string(peer->classifier);
  std::vector<std::string_view> names;
  for (const Peer& peer : peers) names.push_back(peer.name);
  throw Error(fmt::format("model '{}' is not one of torchvision's; allowed: {}", name, fmt::join(names, ", ")));
}

std::vector<std::string> model_names() {
  std::vector<std::string> names{std::string(varied)};
  for (const Peer& peer : peers) names.emplace_back(peer.name);
  return names;
}

}  // namespace facet
