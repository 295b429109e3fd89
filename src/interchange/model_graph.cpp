#include "interchange/model_graph.h"

#include <fmt/format.h>

#include "facet/error.h"

namespace facet::interchange {

void require_graph(const ModelInfo& info, const Graph& graph) {
  const Shape expected{3, info.size, info.size};
  if (graph.input_shape() != expected) {
    throw Error(fmt::format("model {}: the graph looks at images of {}, its description says {}", info.model,
                            to_string(graph.input_shape()), to_string(expected)));
  }
  const std::vector<HeadOutput>& outputs = graph.heads();
  if (outputs.size() != info.heads.size()) {
    throw Error(fmt::format("model {}: the graph has {} heads, its description {}", info.model, outputs.size(),
                            info.heads.size()));
  }
  for (std::size_t head = 0; head < outputs.size(); ++head) {
    const Head& described = info.heads[head];
    if (outputs[head].name != described.name) {
      throw Error(fmt::format("model {}: head {} of the graph is {}, of its description {}", info.model, head + 1,
                              outputs[head].name, described.name));
    }
    if (outputs[head].classes != static_cast<int>(described.classes.size())) {
      throw Error(fmt::format("model {}: head {} has {} classes in the graph, {} in its description", info.model,
                              described.name, outputs[head].classes, described.classes.size()));
    }
  }
}

}  // namespace facet::interchange
