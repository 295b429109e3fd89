#include <doctest/doctest.h>

#include <numeric>

#include "facet/model_file.h"
#include "facet/models.h"
#include "facet/ops.h"
#include "formats/raw_safetensors.h"
#include "formats/safetensors.h"
#include "testing.h"

using namespace facet;
using namespace facet::formats;

namespace {

using Values = std::vector<float>;
using Names = std::vector<std::string>;
using Layers = std::set<std::string>;

const Head age{"age", {"young", "old"}}, mood{"mood", {"sad", "calm", "glad"}};

/// A linear layer per head on the image; with `hidden`, each head has a hidden layer too, as the reference model's.
Graph model(const std::vector<Head>& heads, bool hidden = false) {
  Graph graph;
  const Value x = flatten(graph.input({3, 1, 1}));
  const Scope scope(graph, "heads");
  for (const Head& head : heads) {
    const auto classes = static_cast<std::int64_t>(head.classes.size());
    if (hidden) {
      const Scope inner(graph, head.name);
      const Value features = linear(x, {.features = 3, .name = "hidden"});
      softmax_cross_entropy(linear(features, {.features = classes, .name = "logits"}), head.name);
    } else {
      softmax_cross_entropy(linear(x, {.features = classes, .name = head.name}), head.name);
    }
  }
  return graph;
}

/// Writes the layer fc of `rows` rows: a row's three weights are its number, and its bias is a tenth of that.
void write_classifier(const std::filesystem::path& file, std::int64_t rows, bool bias = true) {
  Values weight, biases;
  for (std::int64_t row = 0; row < rows; ++row) {
    weight.insert(weight.end(), 3, static_cast<float>(row));
    biases.push_back(static_cast<float>(row) / 10);
  }
  std::vector<TensorSource> tensors{{.name = "fc.weight", .shape = {rows, 3}, .values = [=] { return weight; }}};
  if (bias) tensors.push_back({.name = "fc.bias", .shape = {rows}, .values = [=] { return biases; }});
  write_safetensors(file, {}, tensors);
}

Values get(const Parameters& parameters, const std::string& name) { return parameters.get(parameters.find(name)); }

/// The weights of these rows of write_classifier's layer.
Values weights_of(const std::vector<int>& rows) {
  Values values;
  for (const int row : rows) values.insert(values.end(), 3, static_cast<float>(row));
  return values;
}

std::string refusal(const std::filesystem::path& file, const std::string& split) {
  const Graph graph = model({age});
  Parameters parameters(graph, 1);
  return error_of([&] { load_pretrained(file, graph, {age}, parameters, parse_head_split(split)); });
}

}  // namespace

TEST_CASE("a split is parsed, with FairFace's classes where its heads have their names and rows") {
  const HeadSplit split = parse_head_split("fc=race:0-6,gender:7-8,Age:9-17,label:18-20");
  CHECK(split.layer == "fc");
  REQUIRE(split.heads.size() == 4);
  CHECK(
      split.heads[0].head ==
      Head{"race", {"White", "Black", "Latino_Hispanic", "East Asian", "Southeast Asian", "Indian", "Middle Eastern"}});
  CHECK(split.heads[0].first == 0);
  CHECK(split.heads[1].head == Head{"gender", {"Male", "Female"}});
  CHECK(split.heads[1].first == 7);
  CHECK(split.heads[2].head.name == "Age");
  CHECK(split.heads[2].head.classes.back() == "more than 70");
  CHECK(split.heads[3].head == Head{"label", {"0", "1", "2"}});
  CHECK(parse_head_split("classifier.6=race:0-3").heads.at(0).head.classes == Names{"0", "1", "2", "3"});
  CHECK(parse_head_split("fc=a:b:0-1").heads.at(0).head.name == "a:b");
}

TEST_CASE("text that isn't a split is refused") {
  const std::pair<const char*, const char*> cases[] = {{"", "LAYER=NAME:FIRST-LAST,... is needed"},
                                                       {"fc", "LAYER=NAME"},
                                                       {"=race:0-6", "LAYER=NAME"},
                                                       {"fc=", "'' of 'fc=' is not a head"},
                                                       {"fc=race:0-6,", "'' of 'fc=race:0-6,'"},
                                                       {"fc=race", "'race' of 'fc=race' is not a head"},
                                                       {"fc=:0-6", "is not a head"},
                                                       {"fc=race:6", "is not a head"},
                                                       {"fc=race:6-0", "is not a head"},
                                                       {"fc=race:3-3", "with two or more rows"},
                                                       {"fc=race:-1-3", "is not a head"},
                                                       {"fc=race:0-x", "is not a head"},
                                                       {"fc=race:0-99999999999999999999", "not a head"},
                                                       {"fc=race:0-100000", "from 0 to 99999"},
                                                       {"fc=a:0-1,a:2-3", "has the head a twice"},
                                                       {"fc=a:0-3,b:2-5", "has row 2 in both b and a"}};
  for (const auto& [text, message] : cases) {
    const std::string what = error_of([&] { parse_head_split(text); });
    CHECK_MESSAGE(contains(what, message), what);
  }
}

TEST_CASE("rows of a layer are loaded into their heads, in any order of the heads") {
  const TemporaryFolder folder;
  write_classifier(folder / "w", 8);
  HeadSplit split = parse_head_split("fc=mood:0-2,age:4-5,race:6-7");
  split.heads[0].head = mood;
  split.heads[1].head = age;
  for (const bool hidden : {false, true}) {
    const Graph graph = model({age, mood}, hidden);
    Parameters parameters(graph, 1);
    const std::string logits = hidden ? ".logits" : "";
    const PretrainedWeights found = load_pretrained(folder / "w", graph, {age, mood}, parameters, split);
    CHECK(get(parameters, "heads.age" + logits + ".weight") == weights_of({4, 5}));
    CHECK(get(parameters, "heads.age" + logits + ".bias") == Values{0.4F, 0.5F});
    CHECK(get(parameters, "heads.mood" + logits + ".weight") == weights_of({0, 1, 2}));
    CHECK(found.left_out == Layers{"heads.race"});
    CHECK(found.fresh == (hidden ? Layers{"heads.age.hidden", "heads.mood.hidden"} : Layers{}));
    CHECK_MESSAGE(contains(found.summary, R"(: 4 tensors are loaded; rows 3 of "fc" belong to no head; not loaded)"),
                  found.summary);
  }
}

TEST_CASE("each class keeps its row where the file's classes have another order") {
  const TemporaryFolder folder;
  write_classifier(folder / "w", 5);
  const Head other{"mood", {"glad", "sad", "calm"}}, strange{"age", {"young", "ancient"}};
  const std::vector<Head> heads{other, strange};
  const Graph graph = model(heads);
  HeadSplit split = parse_head_split("fc=mood:0-2,age:3-4");
  split.heads[0].head = mood;
  split.heads[1].head = age;
  Parameters parameters(graph, 1);
  const Values drawn = get(parameters, "heads.age.weight");
  const PretrainedWeights found = load_pretrained(folder / "w", graph, heads, parameters, split);
  CHECK(get(parameters, "heads.mood.weight") == weights_of({2, 0, 1}));
  CHECK(get(parameters, "heads.mood.bias") == Values{0.2F, 0, 0.1F});
  CHECK(get(parameters, "heads.age.weight") == drawn);
  CHECK(found.reordered == Layers{"mood"});
  CHECK(found.other_classes == Layers{"age"});
  CHECK(found.left_out == Layers{"heads.age"});
  CHECK(found.fresh == Layers{"heads.age"});
  CHECK_MESSAGE(
      contains(found.summary, R"(2 tensors are loaded; classes reordered in heads: "mood"; heads with other classes: )"
                              R"("age"; not loaded: "heads.age"; newly initialised: "heads.age")"),
      found.summary);
}

TEST_CASE("a model file's classes are matched by name, and its hidden layers are loaded unchanged") {
  const TemporaryFolder folder;
  const ModelInfo info{.model = "mine", .size = 1, .heads = {mood, age}};
  const Graph written = model(info.heads, true);
  const Parameters weights(written, 7);
  save_model(folder / "w", info, weights);

  const std::vector<Head> heads{{"age", {"old", "young"}}, {"mood", {"calm", "glad", "angry"}}};
  const Graph graph = model(heads, true);
  Parameters parameters(graph, 1);
  const Values drawn = get(parameters, "heads.mood.logits.weight");
  const PretrainedWeights found = load_pretrained(folder / "w", graph, heads, parameters);
  const Values rows = get(weights, "heads.age.logits.weight");
  CHECK(get(parameters, "heads.age.logits.weight") == Values{rows[3], rows[4], rows[5], rows[0], rows[1], rows[2]});
  CHECK(get(parameters, "heads.age.hidden.weight") == get(weights, "heads.age.hidden.weight"));
  CHECK(get(parameters, "heads.mood.logits.weight") == drawn);
  CHECK(get(parameters, "heads.mood.hidden.weight") == get(weights, "heads.mood.hidden.weight"));
  CHECK(found.reordered == Layers{"age"});
  CHECK(found.fresh == Layers{"heads.mood.logits"});

  Parameters same(written, 1);
  CHECK(load_pretrained(folder / "w", written, info.heads, same).reordered.empty());
  CHECK(get(same, "heads.mood.logits.weight") == get(weights, "heads.mood.logits.weight"));
}

TEST_CASE("classes that can't be matched are refused") {
  const TemporaryFolder folder;
  const auto odd_model = [](const Head& head) {  // no linear layer gives its logits
    Graph graph;
    const Value x = flatten(graph.input({3, 1, 1}));
    softmax_cross_entropy(relu(linear(x, {.features = 2, .name = "out"})), head.name);
    return graph;
  };
  const ModelInfo info{.model = "mine", .size = 1, .heads = {age}};
  const Graph written = odd_model(age);
  save_model(folder / "w", info, Parameters(written, 7));
  Parameters parameters(written, 1);
  load_pretrained(folder / "w", written, {age}, parameters);
  const std::string what = error_of([&] {
    load_pretrained(folder / "w", written, {{"age", {"old", "young"}}}, parameters);
  });
  CHECK_MESSAGE(contains(what, R"(its head "age" has other classes than the model's or another order of them)"), what);
}

TEST_CASE("heads are compared with the graph's") {
  const TemporaryFolder folder;
  write_classifier(folder / "w", 5);
  const Graph graph = model({age, mood});
  Parameters parameters(graph, 1);
  const auto expect_refusal = [&](const std::vector<Head>& heads, const char* part) {
    const std::string what = error_of([&] { load_pretrained(folder / "w", graph, heads, parameters); });
    CHECK_MESSAGE(what.starts_with((folder / "w").string() + ": "), what);
    CHECK_MESSAGE(contains(what, part), what);
  };
  expect_refusal({age, {"mood", {"sad", "glad"}}},
                 R"(a head "mood" with 2 classes; its graph has "age" with 2 classes, "mood" with 3 classes)");
  expect_refusal({{"race", {"a", "b"}}}, R"(a head "race" with 2 classes)");
  expect_refusal({mood, mood}, "the head 'mood' occurs twice");
  expect_refusal({{"age", {"young", "young"}}}, "'young' occurs twice");
  // A head whose number of rows differs from its number of classes counts as a head with other classes.
  HeadSplit split = parse_head_split("fc=age:0-4");
  CHECK(load_pretrained(folder / "w", graph, {age}, parameters, split).other_classes == Layers{"age"});
}

TEST_CASE("an invalid split is refused") {
  const TemporaryFolder folder;
  write_classifier(folder / "w", 8);
  const Graph graph = model({age});
  Parameters parameters(graph, 1);
  const auto refused = [&](const HeadSplit& split) {
    return error_of([&] { load_pretrained(folder / "w", graph, {}, parameters, split); });
  };
  CHECK(contains(refused({.heads = {{.head = age}}}), R"(the head "age" is given rows, but no layer is named)"));
  CHECK(contains(refused({.layer = "fc", .heads = {{.head = age}, {.head = age, .first = 2}}}),
                 R"(two of its tensors are read as "heads.age.weight")"));
  CHECK(contains(refused({.layer = "fc", .heads = {{.head = age, .first = INT64_MAX}}}), R"("fc" has rows 0-7; head)"));
  CHECK(contains(refused({.layer = "fc", .heads = {{.head = age, .first = -1}}}), R"("fc" has rows 0-7; head)"));
  write_raw(folder / "w", R"({"fc.weight":{"dtype":"F32","shape":[1000000000000,0],"data_offsets":[0,0]}})", "");
  CHECK(contains(refused(parse_head_split("fc=age:0-1")),
                 R"("fc" has 1000000000000 rows; at most 100000 are allowed in a layer to split)"));
}

TEST_CASE("a missing layer, or one of too few rows, is an error that names the file's layers") {
  const TemporaryFolder folder;
  write_classifier(folder / "w", 8);
  CHECK(contains(refusal(folder / "w", "classifier=age:0-1"),
                 R"(has no linear layer "classifier" to split; its last linear layers are "fc" (8 rows))"));
  CHECK(contains(refusal(folder / "w", "fc=age:7-8"), R"("fc" has rows 0-7; head "age" needs rows 7-8)"));
  write_classifier(folder / "w", 8, false);
  const Graph graph = model({age});
  Parameters parameters(graph, 1);
  CHECK(load_pretrained(folder / "w", graph, {}, parameters, parse_head_split("fc=age:0-1")).fresh ==
        Layers{"heads.age"});
  write_safetensors(folder / "w", {}, {{.name = "fc.weight", .shape = {2}, .values = [] { return Values{1, 2}; }}});
  CHECK(contains(refusal(folder / "w", "fc=age:0-1"), "it has no linear layer"));
}
