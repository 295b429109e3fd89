#include "facet/models.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "facet/error.h"
#include "facet/precision.h"
#include "models/heads.h"
#include "ops/network.h"
#include "program/parameter_store.h"
#include "program/small_model.h"

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
  int min_size;
};
const std::vector<Known> torchvisions{{"resnet18", 11'689'512, 512, 1},      {"resnet34", 21'797'672, 512, 1},
                                      {"resnet50", 25'557'032, 2048, 1},     {"densenet121", 7'978'856, 1024, 29},
                                      {"densenet161", 28'681'000, 2208, 29}, {"alexnet", 61'100'840, 4096, 63},
                                      {"mobilenet_v2", 3'504'872, 1280, 1}};

}  // namespace

TEST_CASE("models: torchvision's have its number of parameters with 1,000 classes, and a linear layer per head") {
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

TEST_CASE("models: images that aren't square keep their proportions up to the pooling; the parameters are the same") {
  for (const Known& known : torchvisions) {
    CAPTURE(known.name);
    const Graph graph = build_model(known.name, {.heads = {head("label", 1000)}, .size = {128, 224}});
    CHECK(graph.trainable_count() == known.parameters);
    CHECK(graph.input_shape() == Shape{3, 128, 224});
    const auto is_oblong = [](const Node& node) { return node.shape.size() == 3 && node.shape[1] != node.shape[2]; };
    const auto features = std::find_if(graph.nodes().rbegin(), graph.nodes().rend(), is_oblong);
    REQUIRE(features != graph.nodes().rend());
    const Shape extents{features->shape[1], features->shape[2]};
    CHECK(extents == (std::string(known.name) == "alexnet" ? Shape{3, 6} : Shape{4, 7}));
  }
}

TEST_CASE("models: the smallest size is accepted; smaller ones, and no heads, are refused") {
  for (const Known& known : torchvisions) {
    CAPTURE(known.name);
    CHECK_NOTHROW(build_model(known.name, {.heads = fairface_heads(), .size = known.min_size}));
    const std::string found = std::to_string(known.min_size - 1) + " found; at least";
    CHECK_NOTHROW(build_model(known.name, {.heads = fairface_heads(), .size = {known.min_size, known.min_size + 40}}));
    CHECK_NOTHROW(build_model(known.name, {.heads = fairface_heads(), .size = {known.min_size + 40, known.min_size}}));
    CHECK_THROWS_WITH_AS(build_model(known.name, {.heads = fairface_heads(), .size = {known.min_size - 1, 224}}),
                         doctest::Contains(("height " + found).c_str()), Error);
    CHECK_THROWS_WITH_AS(build_model(known.name, {.heads = fairface_heads(), .size = {224, known.min_size - 1}}),
                         doctest::Contains(("width " + found).c_str()), Error);
    CHECK_THROWS_WITH_AS(build_model(known.name, {.heads = {}}), doctest::Contains("no heads found"), Error);
  }
}

TEST_CASE("models: parameters have the names of torchvision's modules") {
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

TEST_CASE("models: parameters are initialised as torchvision's") {
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

TEST_CASE("models: dropout is where torchvision has it, unless it is turned off") {
  for (const auto& [name, layers] :
       {std::pair("alexnet", 2), {"mobilenet_v2", 1}, {"resnet34", 0}, {"densenet161", 0}}) {
    CAPTURE(name);
    CHECK(count_dropout(build_model(name, {.heads = fairface_heads(), .size = 64})) == layers);
    CHECK(count_dropout(build_model(name, {.heads = fairface_heads(), .size = 64, .dropout = false})) == 0);
  }
}

TEST_CASE("models: an unknown model is refused with the names of the known ones") {
  CHECK(model_names() == std::vector<std::string>{"reference", "resnet18", "resnet34", "resnet50", "densenet121",
                                                  "densenet161", "alexnet", "mobilenet_v2"});
  CHECK_THROWS_WITH_AS(build_model("resnet35", {.heads = fairface_heads()}),
                       doctest::Contains("model 'resnet35' found; allowed: reference, resnet18"), Error);
  CHECK_THROWS_WITH_AS(build_model("resnet34", {.heads = fairface_heads()}, to_string(ReferenceShape{.stem = 8})),
                       "model resnet34 has a fixed shape; only that of reference can be chosen", Error);
}

TEST_CASE("models: heads and classes without a name, or with the same name, are refused") {
  const Head good = head("age", 3);
  const auto refused = [&](const std::vector<Head>& heads, const char* message) {
    CAPTURE(message);
    for (const std::string& name : model_names()) {
      CAPTURE(name);
      CHECK_THROWS_WITH_AS(build_model(name, {.heads = heads, .size = 64}), doctest::Contains(message), Error);
    }
  };
  refused({good, head("", 2)}, "a head has no name");
  refused({good, head("race", 2), good}, "two heads are called 'age'");
  refused({good, {"race", {"a", "b", "a"}}}, "head 'race' has the class 'a' twice");
  refused({good, {"race", {"a", ""}}}, "a class of head 'race' has no name");
}

}  // namespace facet::testing

namespace facet::testing {

TEST_CASE("alexnet: a NaN weight that ReLUs and pools hide from the loss stops its step, and the error names it") {
  Problem problem;
  problem.graph = alexnet({.heads = {head("age", 9)}, .size = 63});
  problem.batch = 2;
  problem.pixels = random_pixels(problem.batch * 63 * 63, 1);
  problem.labels = random_labels(problem.graph, problem.batch, 1);
  const auto rule = optim::sgd();
  Parameters parameters(problem.graph, 1);
  Session session(problem.graph, parameters,
                  {.batch = problem.batch, .mode = program::Mode::training, .optimizer = rule.get()});
  CHECK(session.run(problem, 1, 1e-3F) > 0);
  for (const char* name : {"features.0.weight", "features.3.bias"}) {
    CAPTURE(name);
    float* const values = parameters.state().value(parameters.find(name));
    const float before = values[0];
    values[0] = std::nanf("");  // as an update does: a value of Parameters::set would be checked first
    CHECK_THROWS_WITH_AS(session.run(problem, 2, 1e-3F), doctest::Contains(name), Error);
    values[0] = before;
  }
}

}  // namespace facet::testing

namespace facet::testing {
namespace {

Problem reference_problem(int size, std::int64_t batch) {
  Problem problem;
  problem.graph = reference({.heads = fairface_heads(), .size = size});
  problem.batch = batch;
  problem.pixels = random_pixels(batch * size * size, 1);
  problem.labels = random_labels(problem.graph, batch, 1);
  return problem;
}

}  // namespace

TEST_CASE("reference: save_memory needs less memory, and training gives the same bits") {
  const Problem problem = reference_problem(64, 16);
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    if (precision == Precision::bf16 && !has_native_bf16()) continue;
    CAPTURE(to_string(precision));
    const Trained kept = train_on_poison(problem, precision, false);
    const Trained recomputed = train_on_poison(problem, precision, true);
    CHECK(recomputed.losses == kept.losses);
    CHECK(recomputed.parameters == kept.parameters);
    CHECK(recomputed.arena_bytes < 0.8 * kept.arena_bytes);
  }
}

}  // namespace facet::testing
