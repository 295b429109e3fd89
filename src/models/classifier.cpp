#include "models/classifier.h"

#include <fmt/format.h>

#include "facet/error.h"

namespace facet {

Value image(Graph& graph, std::string_view model, const ModelOptions& options, int least) {
  if (options.size < least)
    throw Error(fmt::format("{}: size {} found; at least {} needed", model, options.size, least));
  if (options.heads.empty()) throw Error(fmt::format("{}: no heads found; at least one needed", model));
  return graph.input({3, options.size, options.size});
}

void add_heads(Value features, const ModelOptions& options, LinearOptions layer) {
  const Scope scope(features.graph(), "heads");
  for (const Head& head : options.heads) {
    layer.features = static_cast<std::int64_t>(head.classes.size());
    layer.name = head.name;
    softmax_cross_entropy(linear(features, layer), head.name);
  }
}

}  // namespace facet
