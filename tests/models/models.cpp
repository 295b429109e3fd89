#include "facet/models.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "facet/error.h"
#include "models/heads.h"

namespace facet::testing {
namespace {

Shape shape_of(const Graph& graph, const std::string& parameter) {
  for (const Parameter& p : graph.parameters())
    if (p.name == parameter) return p.shape;
  return {};
}

std::vector<std::string> names_beginning_with(const Graph& graph, const std::string& prefix) {
  std::vector<std::string> names;
  for (const Parameter& parameter : graph.parameters())
    if (parameter.name.starts_with(prefix)) names.push_back(parameter.name);
  return names;
}

int count_dropout(const Graph& graph) {
  return static_cast<int>(std::count_if(graph.nodes().begin(), graph.nodes().end(), [](const Node& node) {
    return node.name.find("dropout") != std::string::npos;
  }));
}

/// A model of torchvision's: its parameters, and the features that its last layer reads.
struct Known {
  const char* name;
  std::int64_t parameters, features;
  int least_size;
};
const std::vector<Known> torchvisions{{"resnet18", 11'689'512, 512, 1},      {"resnet34", 21'797'672, 512, 1},
                                      {"resnet50", 25'557'032, 2048, 1},     {"densenet121", 7'978'856, 1024, 29},
                                      {"densenet161", 28'681'000, 2208, 29}, {"alexnet", 61'100'840, 4096, 63},
                                      {"mobilenet_v2", 3'504'872, 1280, 1}};

}  // namespace

TEST_CASE("models: torchvision's have its parameters with 1,000 classes, and a linear layer a head") {
  for (const Known& known : torchvisions) {
    CAPTURE(known.name);
    CHECK(build_model(known.name, {.heads = {head("label", 1000)}}).trainable_count() == known.parameters);
    const Graph graph = build_model(known.name, {.heads = fairface_heads()});
    CHECK(graph.trainable_count() == known.parameters - (known.features + 1) * (1000 - 18));
    REQUIRE(graph.heads().size() == 3);
    CHECK(graph.heads()[2].name == "race");
    CHECK(graph.heads()[2].classes == 7);
    CHECK(names_beginning_with(graph, "heads.") == std::vector<std::string>{"heads.age.weight", "heads.age.bias",
                                                                            "heads.gender.weight", "heads.gender.bias",
                                                                            "heads.race.weight", "heads.race.bias"});
    CHECK(shape_of(graph, "heads.gender.weight") == Shape{2, known.features});
  }
}

TEST_CASE("models: sizes down to the least, and no heads, which are refused") {
  for (const Known& known : torchvisions) {
    CAPTURE(known.name);
    CHECK_NOTHROW(build_model(known.name, {.heads = fairface_heads(), .size = known.least_size}));
    const std::string found = "size " + std::to_string(known.least_size - 1) + " found";
    CHECK_THROWS_WITH_AS(build_model(known.name, {.heads = fairface_heads(), .size = known.least_size - 1}),
                         doctest::Contains(found.c_str()), Error);
    CHECK_THROWS_WITH_AS(build_model(known.name, {.heads = {}}), doctest::Contains("no heads found"), Error);
  }
}

TEST_CASE("models: names as torchvision's modules have them") {
  const ModelOptions options{.heads = fairface_heads(), .size = 64};
  CHECK(shape_of(resnet50(options), "layer1.0.downsample.0.weight") == Shape{256, 64, 1, 1});
  CHECK(names_beginning_with(resnet18(options), "layer2.0.") ==
        std::vector<std::string>{
            "layer2.0.conv1.weight", "layer2.0.bn1.weight", "layer2.0.bn1.bias", "layer2.0.bn1.running_mean",
            "layer2.0.bn1.running_var", "layer2.0.bn1.num_batches_tracked", "layer2.0.conv2.weight",
            "layer2.0.bn2.weight", "layer2.0.bn2.bias", "layer2.0.bn2.running_mean", "layer2.0.bn2.running_var",
            "layer2.0.bn2.num_batches_tracked", "layer2.0.downsample.0.weight", "layer2.0.downsample.1.weight",
            "layer2.0.downsample.1.bias", "layer2.0.downsample.1.running_mean", "layer2.0.downsample.1.running_var",
            "layer2.0.downsample.1.num_batches_tracked"});
  CHECK(shape_of(densenet161(options), "features.denseblock4.denselayer24.conv1.weight") == Shape{192, 2160, 1, 1});
  CHECK(shape_of(densenet121(options), "features.transition3.conv.weight") == Shape{512, 1024, 1, 1});
  CHECK(shape_of(mobilenet_v2(options), "features.1.conv.0.0.weight") == Shape{32, 1, 3, 3});
  CHECK(shape_of(mobilenet_v2(options), "features.17.conv.3.running_var") == Shape{320});
  CHECK(shape_of(mobilenet_v2(options), "features.18.1.bias") == Shape{1280});
  CHECK(shape_of(alexnet(options), "classifier.1.weight") == Shape{4096, 9216});
}

TEST_CASE("models: drawn as torchvision draws them") {
  const auto initializer = [](const Graph& graph, const std::string& name) {
    for (const Parameter& parameter : graph.parameters())
      if (parameter.name == name) return std::pair(parameter.initializer.kind, parameter.initializer.value);
    return std::pair(Initializer::Kind::constant, -1.0F);
  };
  using enum Initializer::Kind;
  const ModelOptions options{.heads = fairface_heads(), .size = 64};
  const auto fan = [](double products) { return static_cast<float>(std::sqrt(2 / products)); };
  const auto bound = [](double inputs) { return static_cast<float>(1 / std::sqrt(inputs)); };
  CHECK(initializer(resnet18(options), "conv1.weight") == std::pair(normal, fan(64 * 49)));
  CHECK(initializer(resnet18(options), "heads.age.bias") == std::pair(uniform, bound(512)));
  CHECK(initializer(densenet121(options), "features.conv0.weight") == std::pair(normal, fan(3 * 49)));
  CHECK(initializer(densenet121(options), "heads.age.weight") == std::pair(uniform, bound(1024)));
  CHECK(initializer(densenet121(options), "heads.age.bias") == std::pair(constant, 0.0F));
  CHECK(initializer(mobilenet_v2(options), "features.1.conv.0.0.weight") == std::pair(normal, fan(32 * 9)));
  CHECK(initializer(mobilenet_v2(options), "heads.age.weight") == std::pair(normal, 0.01F));
  CHECK(initializer(mobilenet_v2(options), "heads.age.bias") == std::pair(constant, 0.0F));
  CHECK(initializer(alexnet(options), "features.0.bias") == std::pair(uniform, bound(3 * 121)));
  CHECK(initializer(alexnet(options), "classifier.4.weight") == std::pair(uniform, bound(4096)));
}

TEST_CASE("models: dropout where torchvision has it, unless it isn't wanted") {
  for (const auto& [name, layers] :
       {std::pair("alexnet", 2), {"mobilenet_v2", 1}, {"resnet34", 0}, {"densenet161", 0}}) {
    CAPTURE(name);
    CHECK(count_dropout(build_model(name, {.heads = fairface_heads(), .size = 64})) == layers);
    CHECK(count_dropout(build_model(name, {.heads = fairface_heads(), .size = 64, .dropout = false})) == 0);
  }
}

TEST_CASE("models: one that isn't there is refused, and those that are, named") {
  CHECK(model_names() == std::vector<std::string>{"reference", "resnet18", "resnet34", "resnet50", "densenet121",
                                                  "densenet161", "alexnet", "mobilenet_v2"});
  CHECK_THROWS_WITH_AS(build_model("resnet35", {.heads = fairface_heads()}),
                       doctest::Contains("model 'resnet35' found; allowed: reference, resnet18"), Error);
  CHECK_THROWS_WITH_AS(build_model("resnet34", {.heads = fairface_heads()}, to_string(ReferenceShape{.stem = 8})),
                       "model resnet34 found with a shape of its own; allowed: reference", Error);
}

TEST_CASE("models: heads and classes have names of their own, or no model is built") {
  const Head good = head("age", 3);
  const auto refused = [&](const std::vector<Head>& heads, const char* message) {
    CAPTURE(message);
    for (const std::string& name : model_names()) {
      CAPTURE(name);
      CHECK_THROWS_WITH_AS(build_model(name, {.heads = heads, .size = 64}), doctest::Contains(message), Error);
    }
  };
  refused({good, head("", 2)}, "a head without a name found");
  refused({good, head("race", 2), good}, "two heads called 'age' found");
  refused({good, {"race", {"a", "b", "a"}}}, "head 'race' has the class 'a' twice");
  refused({good, {"race", {"a", ""}}}, "head 'race' has a class without a name");
}

}  // namespace facet::testing
