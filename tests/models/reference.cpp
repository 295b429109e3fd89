#include <doctest/doctest.h>

#include <algorithm>

#include "facet/error.h"
#include "facet/models.h"
#include "models/heads.h"

namespace facet::testing {
namespace {

const std::vector<Head> fairface = fairface_heads();

int count(const Graph& graph, std::string_view kind) {
  int found = 0;
  for (const Node& node : graph.nodes()) found += node.name.find(kind) != std::string::npos ? 1 : 0;
  return found;
}

}  // namespace

TEST_CASE("reference: 35,264,338 parameters at 224x224 with heads of 9, 2 and 7 classes") {
  const Graph graph = build_model("reference", {.heads = fairface});
  CHECK(graph.trainable_count() == 35'264'338);
  CHECK(graph.input_shape() == Shape{3, 224, 224});
  REQUIRE(graph.heads().size() == 3);
  CHECK(graph.heads()[0].name == "age");
  CHECK(graph.heads()[0].classes == 9);
  CHECK(graph.heads()[1].classes == 2);
  CHECK(graph.heads()[2].classes == 7);
}

TEST_CASE("reference: hidden layers, dropout and names by head") {
  const Graph graph = reference({.heads = fairface, .size = 32});
  const auto shape_of = [&](const std::string& name) {
    for (const Parameter& parameter : graph.parameters())
      if (parameter.name == name) return parameter.shape;
    return Shape{};
  };
  CHECK(shape_of("stem.conv.weight") == Shape{64, 3, 7, 7});
  CHECK(shape_of("block3.residual.1.conv2.weight") == Shape{256, 256, 3, 3});
  CHECK(shape_of("block1.residual.0.bn1.running_var") == Shape{64});
  CHECK(shape_of("heads.age.hidden.weight") == Shape{256, 4 * 256});
  CHECK(shape_of("heads.gender.hidden.weight") == Shape{128, 4 * 256});
  CHECK(shape_of("heads.race.logits.bias") == Shape{7});
  CHECK(count(graph, "heads.race.alpha_dropout") == 1);
  CHECK(count(graph, "dropout") == 3);
  CHECK(count(reference({.heads = fairface, .size = 32, .dropout = false}), "dropout") == 0);
}

TEST_CASE("reference: another shape has its own channels, blocks and hidden layers") {
  const ReferenceHidden alpha{.features = 12, .alpha = true};
  const ReferenceShape shape{.stem = 8,
                             .blocks = {{16, 0}, {24, 3}},
                             .hidden = {{"age", {.features = 40, .dropout = 0.2F}}, {"gender", alpha}}};
  const Graph graph = reference({.heads = fairface, .size = 24}, shape);
  const auto shape_of = [&](const std::string& name) {
    for (const Parameter& parameter : graph.parameters())
      if (parameter.name == name) return parameter.shape;
    return Shape{};
  };
  CHECK(shape_of("stem.conv.weight") == Shape{8, 3, 7, 7});
  CHECK(shape_of("block1.conv.weight") == Shape{16, 8, 3, 3});
  CHECK(shape_of("block1.residual.0.conv1.weight").empty());
  CHECK(shape_of("block2.residual.2.conv2.weight") == Shape{24, 24, 3, 3});
  CHECK(shape_of("heads.age.hidden.weight") == Shape{40, 3 * 3 * 24});
  CHECK(shape_of("heads.gender.hidden.weight") == Shape{12, 3 * 3 * 24});
  CHECK(shape_of("heads.race.hidden.weight") == Shape{256, 3 * 3 * 24});
  CHECK(count(graph, "heads.age.dropout") == 1);
  CHECK(count(graph, "alpha_dropout") == 2);
  CHECK_THROWS_WITH_AS(reference({.heads = fairface, .size = 12}, shape), doctest::Contains("a multiple of 8"), Error);

  const Graph by_name = build_model("reference", {.heads = fairface, .size = 24}, to_string(shape));
  REQUIRE(by_name.parameters().size() == graph.parameters().size());
  for (std::size_t i = 0; i < graph.parameters().size(); ++i) {
    CHECK(by_name.parameters()[i].name == graph.parameters()[i].name);
    CHECK(by_name.parameters()[i].shape == graph.parameters()[i].shape);
  }
}

TEST_CASE("reference: an image that isn't square has its own number of features") {
  const Graph graph = reference({.heads = fairface, .size = {48, 32}});
  CHECK(graph.input_shape() == Shape{3, 48, 32});
  const Shape hidden_weight{256, 256 * 3 * 2};
  CHECK(std::any_of(graph.parameters().begin(), graph.parameters().end(), [&](const Parameter& parameter) {
    return parameter.name == "heads.age.hidden.weight" && parameter.shape == hidden_weight;
  }));
  // All but the hidden layers' weights, for 14x14 features in the model of 224x224, are the same.
  const std::int64_t hidden = 256 + 128 + 256;
  CHECK(graph.trainable_count() == 35'264'338 - hidden * 256 * (14 * 14 - 3 * 2));
}

TEST_CASE("reference: invalid shapes are refused by the layer's name") {
  const auto refused = [](const ReferenceShape& shape, const char* message) {
    CHECK_THROWS_WITH_AS(reference({.heads = fairface, .size = 32}, shape), doctest::Contains(message), Error);
  };
  refused({.stem = 0}, "stem: 0 channels found; 1 to 65536 are allowed");
  refused({.stem = std::int64_t{1} << 40}, "stem: 1099511627776 channels found");
  refused({.blocks = {{64, 1}, {-1, 1}}}, "block2: -1 channels found");
  refused({.blocks = {{64, -1}}}, "block1: -1 residual blocks found; 0 to 1024 are allowed");
  refused({.blocks = std::vector<ReferenceBlock>(70, {64, 1})}, "70 blocks found; 0 to 13 are allowed");
  refused({.hidden = {{"age", {.features = 0}}}}, "heads.age.hidden: 0 features found");
  refused({.hidden = {{"age", {.dropout = 1}}}}, "heads.age.dropout");
  refused({.hidden = {{"mood", {}}}}, "a hidden layer is given for head mood; the heads are age, gender, race");
}

TEST_CASE("reference: sizes that can't be halved four times, and invalid heads, are refused") {
  for (const int size : {-16, 0, 8, 15, 17, 100, 225}) {
    CAPTURE(size);
    CHECK_THROWS_WITH_AS(reference({.heads = fairface, .size = size}), doctest::Contains(std::to_string(size).c_str()),
                         Error);
  }
  CHECK_NOTHROW(reference({.heads = fairface, .size = 16}));
  CHECK_THROWS_WITH_AS(reference({.heads = fairface, .size = {40, 32}}),
                       doctest::Contains("height 40 found; a multiple of 16 is needed"), Error);
  CHECK_THROWS_WITH_AS(reference({.heads = fairface, .size = {32, 40}}),
                       doctest::Contains("width 40 found; a multiple of 16 is needed"), Error);
  CHECK_THROWS_WITH_AS(reference({.heads = {}}), doctest::Contains("head"), Error);
  CHECK_THROWS_WITH_AS(reference({.heads = {head("age", 1)}}), doctest::Contains("age"), Error);
  CHECK_THROWS_WITH_AS(reference({.heads = {head("age", 2), head("age", 2)}}), doctest::Contains("age"), Error);
}

}  // namespace facet::testing
