#include "interchange/model_graph.h"

#include <doctest/doctest.h>

#include "inference/small_model.h"

using namespace facet;

TEST_CASE("a graph must be what its description says") {
  const Graph graph = small::model();
  interchange::require_graph(small::info(), graph);

  ModelInfo info = small::info();
  info.size = 32;
  CHECK(error_of([&] { interchange::require_graph(info, graph); }) ==
        "model small: the graph looks at images of 3x16x16, its description says 3x32x32");
  info = small::info();
  info.heads.pop_back();
  CHECK(error_of([&] { interchange::require_graph(info, graph); }) ==
        "model small: the graph has 3 heads, its description 2");
  info = small::info();
  info.heads[1].name = "edge";
  CHECK(error_of([&] { interchange::require_graph(info, graph); }) ==
        "model small: head 2 of the graph is side, of its description edge");
  info = small::info();
  info.heads[0].classes.push_back("white");
  CHECK(error_of([&] { interchange::require_graph(info, graph); }) ==
        "model small: head colour has 3 classes in the graph, 4 in its description");
}
