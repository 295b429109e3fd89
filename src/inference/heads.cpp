#include "inference/heads.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>

#include "data/labels.h"
#include "facet/error.h"

namespace facet::inference {

void require_heads(const std::vector<Head>& expected, const std::vector<Head>& found, std::string_view whose) {
  const std::vector<std::string> expected_names = data::names_of(expected), found_names = data::names_of(found);
  if (expected_names != found_names) {
    throw Error(fmt::format("{} has the heads {}, the model has {}", whose, fmt::join(found_names, ", "),
                            fmt::join(expected_names, ", ")));
  }
  for (std::size_t head = 0; head < expected.size(); ++head) {
    if (expected[head].classes != found[head].classes) {
      throw Error(fmt::format("{}: head {} has the classes {}, in the model it has {}", whose, found[head].name,
                              fmt::join(found[head].classes, ", "), fmt::join(expected[head].classes, ", ")));
    }
  }
}

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

}  // namespace facet::inference
