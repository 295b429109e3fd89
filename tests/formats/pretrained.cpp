#include "formats/pretrained.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "facet/ops.h"
#include "formats/pickles.h"
#include "formats/pytorch_file.h"
#include "formats/raw_safetensors.h"
#include "testing.h"

using namespace facet;
using namespace facet::formats;

namespace {

using Values = std::vector<float>;
using Layers = std::set<std::string>;

/// A convolution, a batch normalisation, and a linear layer per head.
Graph model(const std::vector<std::pair<std::string, int>>& heads) {
  Graph graph;
  Value x = graph.input({3, 4, 4});
  x = flatten(batch_norm(convolution(x, {.channels = 2, .bias = false, .name = "conv"}), {.name = "bn"}));
  const Scope scope(graph, "heads");
  for (const auto& [name, classes] : heads) {
    softmax_cross_entropy(linear(x, {.features = classes, .name = name}), name);
  }
  return graph;
}

/// `count` values: first, first + 0.5, first + 1, ...
Values counted(std::int64_t count, float first) {
  Values values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), 2 * first);
  for (float& value : values) value /= 2;
  return values;
}

TensorSource source(const std::string& name, const Shape& shape, const Values& values) {
  return {.name = name, .shape = shape, .values = [=] { return values; }};
}
TensorSource source(const std::string& name, const Shape& shape, float first) {
  return source(name, shape, counted(element_count(shape), first));
}

/// The tensors of the model without its heads.
std::vector<TensorSource> trunk() {
  return {source("conv.weight", {2, 3, 3, 3}, 1),
          source("bn.weight", {2}, 2),
          source("bn.bias", {2}, 3),
          source("bn.running_mean", {2}, 4),
          source("bn.running_var", {2}, 5),
          {.name = "bn.num_batches_tracked",
           .shape = {},
           .values = [] { return std::vector<std::int64_t>{77}; },
           .type = DataType::s64}};
}

enum class FileFormat { archive, deflated, legacy };

/// Writes tensors as torch.save does, all in f32 except the counter.
void write_pytorch(const std::filesystem::path& file, const std::vector<TensorSource>& tensors,
                   FileFormat format = FileFormat::archive) {
  std::vector<std::pair<std::string, std::string>> items;
  std::vector<pickles::Entry> entries{{"archive/version", "3\n"}};
  std::vector<pickles::LegacyStorage> storages;
  for (const TensorSource& tensor : tensors) {
    const std::int64_t count = element_count(tensor.shape);
    const std::string key = std::to_string(items.size());
    std::vector<std::int64_t> strides(tensor.shape.size(), 1);
    for (std::size_t axis = strides.size(); axis-- > 1;) strides[axis - 1] = strides[axis] * tensor.shape[axis];
    const TensorValues values = tensor.values();
    const auto* whole = std::get_if<std::vector<std::int64_t>>(&values);
    items.emplace_back(tensor.name, pickles::tensor({.shape = tensor.shape,
                                                     .strides = strides,
                                                     .elements = count,
                                                     .storage = key,
                                                     .type = whole != nullptr ? "LongStorage" : "FloatStorage"}));
    const std::string bytes =
        whole != nullptr ? pickles::bytes_of(whole->at(0)) : pickles::floats(std::get<Values>(values));
    entries.push_back({"archive/data/" + key, bytes, format == FileFormat::deflated});
    storages.push_back({key, count, bytes});
  }
  if (format == FileFormat::legacy) return write_file(file, pickles::legacy_file(pickles::dictionary(items), storages));
  entries.push_back({"archive/data.pkl", pickles::whole(pickles::dictionary(items)), format == FileFormat::deflated});
  pickles::write_zip(file, entries);
}

/// The error of loading the file; it must begin with the file's name and be one line.
std::string refusal(const std::filesystem::path& file, const Graph& graph) {
  Parameters parameters(graph, 1);
  const std::string what = error_of([&] { load_pretrained(file, graph, {}, parameters); });
  CHECK_MESSAGE(what.starts_with(file.string() + ": "), what);
  CHECK(what.find('\n') == std::string::npos);
  return what;
}

std::string refusal(const std::vector<TensorSource>& tensors) {
  const TemporaryFolder folder;
  write_safetensors(folder / "w.safetensors", {}, tensors);
  return refusal(folder / "w.safetensors", model({{"age", 3}}));
}

Values get(const Parameters& parameters, const std::string& name) { return parameters.get(parameters.find(name)); }

}  // namespace

TEST_CASE("weights are loaded from safetensors and from every file format of PyTorch") {
  const TemporaryFolder folder;
  const Graph graph = model({{"age", 3}});
  write_safetensors(folder / "a", {}, trunk());
  write_pytorch(folder / "b", trunk());
  write_pytorch(folder / "c", trunk(), FileFormat::deflated);
  write_pytorch(folder / "d", trunk(), FileFormat::legacy);
  for (const char* file : {"a", "b", "c", "d"}) {
    CAPTURE(file);
    Parameters parameters(graph, 1);
    const Values head = get(parameters, "heads.age.weight");
    const PretrainedWeights found = load_pretrained(folder / file, graph, {}, parameters);
    CHECK(found.left_out.empty());
    CHECK(found.fresh == Layers{"heads.age"});
    CHECK(get(parameters, "conv.weight") == counted(54, 1));
    CHECK(get(parameters, "bn.running_var") == counted(2, 5));
    CHECK(parameters.get_counter(parameters.find("bn.num_batches_tracked")) == 77);
    CHECK(get(parameters, "heads.age.weight") == head);
  }
}

TEST_CASE("a classifier's layers are loaded where they fit, and reported where they don't") {
  const TemporaryFolder folder;
  std::vector<TensorSource> tensors = trunk();
  tensors.push_back(source("fc.weight", {1000, 32}, 0));
  tensors.push_back(source("fc.bias", {1000}, 0));
  tensors.push_back(source("heads.age.weight", {3, 32}, 7));
  tensors.push_back(source("heads.age.bias", {3}, 8));
  tensors.push_back(source("heads.race.weight", {5, 32}, 9));
  tensors.push_back(source("heads.race.bias", {4}, 9));  // fits, but its weights don't
  write_safetensors(folder / "w", {}, tensors);
  const Graph graph = model({{"age", 3}, {"race", 4}, {"mood", 2}});
  Parameters parameters(graph, 1);
  const Values drawn = get(parameters, "heads.race.bias");
  const PretrainedWeights found = load_pretrained(folder / "w", graph, {}, parameters);
  CHECK(found.left_out == Layers{"fc", "heads.race"});
  CHECK(found.fresh == Layers{"heads.mood", "heads.race"});
  CHECK(get(parameters, "heads.age.weight") == counted(96, 7));
  CHECK(get(parameters, "heads.race.bias") == drawn);
  CHECK(found.summary ==
        (folder / "w").string() +
            R"(: 8 tensors are loaded; not loaded: "fc", "heads.race"; newly initialised: "heads.mood", "heads.race")");
}

TEST_CASE("an ordinal head is loaded where its classes are the same in the same order, and as a whole") {
  const auto with = [](const std::vector<std::string>& classes, bool ordinal) {
    const std::vector<Head> heads{{"age", classes, ordinal}};
    Graph graph;
    const Value x = flatten(convolution(graph.input({3, 4, 4}), {.channels = 2, .bias = false, .name = "conv"}));
    const Scope scope(graph, "heads");
    const auto count = std::ssize(classes);
    if (ordinal) {
      coral_loss(coral(x, {.classes = count, .name = "age"}), "age");
    } else {
      softmax_cross_entropy(linear(x, {.features = count, .name = "age"}), "age");
    }
    return std::pair(heads, std::move(graph));
  };
  const std::vector<std::string> ages{"young", "grown", "old"}, other_order{"old", "grown", "young"};
  struct Case {
    bool from_ordinal, to_ordinal;
    std::vector<std::string> to;
    bool loaded;
  };
  for (const Case& c : {Case{true, true, ages, true}, Case{true, true, other_order, false},
                        Case{true, true, {"young", "grown", "old", "older"}, false}, Case{false, true, ages, false},
                        Case{true, false, ages, false}, Case{false, false, other_order, true}}) {
    CAPTURE(c.from_ordinal);
    CAPTURE(c.to_ordinal);
    CAPTURE(c.to.size());
    const TemporaryFolder folder;
    const auto [old_heads, old_graph] = with(ages, c.from_ordinal);
    Parameters saved(old_graph, 3);
    saved.set(saved.find("heads.age.bias"), counted(c.from_ordinal ? 2 : 3, 4));
    save_model(folder / "w", {.model = "own", .size = 4, .heads = old_heads}, saved);
    const auto [heads, graph] = with(c.to, c.to_ordinal);
    Parameters parameters(graph, 8);
    const Values weight = get(parameters, "heads.age.weight"), bias = get(parameters, "heads.age.bias");
    const PretrainedWeights found = load_pretrained(folder / "w", graph, heads, parameters);
    CHECK(get(parameters, "conv.weight") == get(saved, "conv.weight"));
    CHECK(found.fresh == (c.loaded ? Layers{} : Layers{"heads.age"}));
    CHECK(found.left_out == (c.loaded ? Layers{} : Layers{"heads.age"}));
    if (c.loaded && c.to == ages) {
      CHECK(get(parameters, "heads.age.weight") == get(saved, "heads.age.weight"));
      CHECK(get(parameters, "heads.age.bias") == counted(2, 4));
    } else if (c.loaded) {
      CHECK(get(parameters, "heads.age.bias") == Values{5, 4.5F, 4});
    } else {
      CHECK(get(parameters, "heads.age.weight") == weight);
      CHECK(get(parameters, "heads.age.bias") == bias);
    }
  }
}

TEST_CASE("counters may be missing, but no other tensor") {
  std::vector<TensorSource> tensors = trunk();
  tensors.pop_back();
  const TemporaryFolder folder;
  write_safetensors(folder / "w", {}, tensors);
  const Graph graph = model({{"age", 3}});
  Parameters parameters(graph, 1);
  load_pretrained(folder / "w", graph, {}, parameters);
  CHECK(get(parameters, "bn.bias") == counted(2, 3));
  CHECK(parameters.get_counter(parameters.find("bn.num_batches_tracked")) == 0);

  tensors.erase(tensors.begin(), tensors.begin() + 2);
  CHECK(contains(refusal(tensors), R"(don't fit the model: "conv.weight" is missing (and 1 more like it))"));
  tensors = trunk();
  tensors.push_back(source("layer1.weight", {1}, 0));
  CHECK(contains(refusal(tensors), R"("layer1.weight" isn't in the model)"));
  tensors[0] = source("conv.weight", {2, 3, 5, 5}, 0);
  CHECK(contains(
      refusal(tensors),
      R"("conv.weight" is floating-point 2x3x5x5, but the model has floating-point 2x3x3x3; "layer1.weight" is)"));
  tensors = trunk();
  tensors[5].name = "bn.weight";
  tensors[1].name = "heads.x";
  CHECK(contains(refusal(tensors), R"("bn.weight" is integer scalar, but the model has floating-point 2)"));
}

TEST_CASE("counters may be floating-point; negative and non-finite ones become 0") {
  const TemporaryFolder folder;
  const Graph graph = model({{"age", 3}});
  for (const auto& [value, counter] : {std::pair{9.0F, 9}, std::pair{std::numeric_limits<float>::infinity(), 0},
                                       std::pair{-1.0F, 0}, std::pair{NAN, 0}}) {
    std::vector<TensorSource> tensors = trunk();
    tensors[5] = source("bn.num_batches_tracked", {}, Values{value});
    write_safetensors(folder / "w", {}, tensors);
    Parameters parameters(graph, 1);
    load_pretrained(folder / "w", graph, {}, parameters);
    CHECK(parameters.get_counter(parameters.find("bn.num_batches_tracked")) == counter);
  }
}

TEST_CASE("a wrapper's prefix of all names is removed") {
  const TemporaryFolder folder;
  const Graph graph = model({{"age", 3}});
  const auto renamed = [](const std::string& prefix) {
    std::vector<TensorSource> tensors = trunk();
    for (TensorSource& tensor : tensors) tensor.name = prefix + tensor.name;
    return tensors;
  };
  for (const char* prefix : {"module.", "model.", "_orig_mod.", "module._orig_mod.", "_orig_mod.model.module."}) {
    CAPTURE(prefix);
    write_safetensors(folder / "w", {}, renamed(prefix));
    Parameters parameters(graph, 1);
    load_pretrained(folder / "w", graph, {}, parameters);
    CHECK(get(parameters, "conv.weight") == counted(54, 1));
  }
  std::string eight;
  for (int i = 0; i < 8; ++i) eight += "module.";
  write_safetensors(folder / "w", {}, renamed(eight));
  CHECK(list_pretrained(folder / "w").at(1).name == "conv.weight");
  write_safetensors(folder / "w", {}, renamed("module." + eight));
  CHECK(list_pretrained(folder / "w").at(1).name == "module.conv.weight");
  std::vector<TensorSource> some = renamed("module.");
  some[0].name = "conv.weight";
  CHECK(contains(refusal(some), R"("bn.weight" is missing (and 3 more like it); "module.bn.)"));

  Graph wrapped;  // a model whose own names have such a prefix
  {
    const Scope scope(wrapped, "model");
    const Value x = batch_norm(convolution(wrapped.input({3, 4, 4}), {.channels = 2, .bias = false, .name = "conv"}),
                               {.name = "bn"});
    softmax_cross_entropy(linear(flatten(x), {.features = 2, .name = "out"}), "age");
  }
  std::vector<TensorSource> tensors = renamed("module.model.");
  tensors.push_back(source("module.model.out.weight", {2, 32}, 0));
  tensors.push_back(source("module.model.out.bias", {2}, 0));
  write_safetensors(folder / "w", {}, tensors);
  Parameters parameters(wrapped, 1);
  load_pretrained(folder / "w", wrapped, {}, parameters);
  CHECK(get(parameters, "model.conv.weight") == counted(54, 1));
}

TEST_CASE("DenseNet's names from before torchvision 0.3 are converted to today's") {
  const TemporaryFolder folder;
  std::vector<TensorSource> tensors;
  for (const char* name :
       {"features.denseblock1.denselayer12.norm.1.weight", "features.denseblock1.denselayer12.conv.2.weight",
        "denselayer1.relu.2.x", "denselayer.norm.1.weight", "denselayer1.norm.3.weight", "denselayer1.norm.1",
        "denselayer1.norm1.weight", "layer1.norm.1.weight"}) {
    tensors.push_back(source(name, {1}, 0));
  }
  write_safetensors(folder / "w", {}, tensors);
  std::vector<std::string> names;
  for (const PretrainedTensor& tensor : list_pretrained(folder / "w")) names.push_back(tensor.name);
  std::sort(names.begin(), names.end());
  CHECK(names == std::vector<std::string>{"denselayer.norm.1.weight", "denselayer1.norm.1", "denselayer1.norm.3.weight",
                                          "denselayer1.norm1.weight", "denselayer1.relu2.x",
                                          "features.denseblock1.denselayer12.conv2.weight",
                                          "features.denseblock1.denselayer12.norm1.weight", "layer1.norm.1.weight"});
}

TEST_CASE("two tensors that are read by the same name are refused") {
  std::vector<TensorSource> tensors = trunk();
  tensors.push_back(source("denselayer1.norm.1.weight", {1}, 0));
  tensors.push_back(source("denselayer1.norm1.weight", {1}, 0));
  CHECK(contains(refusal(tensors), R"(two of its tensors are read as "denselayer1.norm1.weight"; each name is)"));
}

TEST_CASE("long names and more tensors than any network has are refused") {
  const TemporaryFolder folder;
  write_safetensors(folder / "w", {}, {source(std::string(1000, 'x'), {1}, 0)});
  CHECK(list_pretrained(folder / "w").size() == 1);
  write_safetensors(folder / "w", {}, {source(std::string(1001, 'x'), {1}, 0)});
  CHECK(contains(error_of([&] { list_pretrained(folder / "w"); }), "the name of a tensor has 1001 bytes"));
  write_pytorch(folder / "w", {source(std::string(1001, 'x'), {1}, 0)});
  CHECK(contains(error_of([&] { list_pretrained(folder / "w"); }), "the name of a tensor has 1001 bytes"));
  std::string header;
  for (int i = 0; i < 100'001; ++i) {
    header += (i == 0 ? "{\"" : ",\"") + std::to_string(i) + R"(":{"dtype":"F32","shape":[0],"data_offsets":[0,0]})";
  }
  write_raw(folder / "w", header + "}", "");
  CHECK(contains(error_of([&] { list_pretrained(folder / "w"); }), "has 100001 tensors; at most 100000 are allowed"));
}

TEST_CASE("non-finite values are refused") {
  for (const float value : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<TensorSource> tensors = trunk();
    tensors[3] = source("bn.running_mean", {2}, Values{1, value});
    CHECK(contains(refusal(tensors), R"(tensor "bn.running_mean" holds )"));
    CHECK(contains(refusal(tensors), std::isnan(value) ? "holds nan; finite numbers are allowed"
                                                       : "holds inf; finite numbers are allowed"));
  }
}

TEST_CASE("strided, offset and shared storages are read by their strides and offsets") {
  const TemporaryFolder folder;
  using pickles::tensor;
  const std::string pickle = pickles::whole(
      pickles::dictionary({{"plain", tensor({.shape = {2, 3}, .strides = {3, 1}, .elements = 8, .offset = 2})},
                           {"transposed", tensor({.shape = {3, 2}, .strides = {1, 3}, .elements = 8, .offset = 1})},
                           {"column", tensor({.shape = {2}, .strides = {4}, .elements = 8, .offset = 3})},
                           {"expanded", tensor({.shape = {2, 3}, .strides = {0, 0}, .elements = 8, .offset = 7})},
                           {"scalar", tensor({.shape = {}, .strides = {}, .elements = 8, .offset = 4})},
                           {"none", tensor({.shape = {3, 0}, .strides = {9, 9}, .elements = 8, .offset = 99})}}));
  pickles::write_zip(
      folder / "w",
      {{"x/data.pkl", pickle}, {"x/byteorder", "little"}, {"x/data/0", pickles::floats({0, 1, 2, 3, 4, 5, 6, 7})}});
  std::map<std::string, Values> found;
  for (const TensorSource& tensor : open_pytorch_file(folder / "w").tensors) {
    found[tensor.name] = std::get<Values>(tensor.values());
  }
  CHECK(found == std::map<std::string, Values>{{"plain", {2, 3, 4, 5, 6, 7}},
                                               {"transposed", {1, 4, 2, 5, 3, 6}},
                                               {"column", {3, 7}},
                                               {"expanded", {7, 7, 7, 7, 7, 7}},
                                               {"scalar", {4}},
                                               {"none", {}}});
}

TEST_CASE("files that aren't a plain state_dict are refused in one line") {
  const TemporaryFolder folder;
  const Graph graph = model({{"age", 3}});
  const auto expect_refusal = [&](const std::vector<pickles::Entry>& entries, const std::string& part) {
    pickles::write_zip(folder / "w.pth", entries);
    const std::string what = refusal(folder / "w.pth", graph);
    CHECK_MESSAGE(contains(what, part), what);
  };
  const std::string w = pickles::tensor({.shape = {2, 3}, .strides = {3, 1}, .elements = 6});
  const std::string pickle = pickles::whole(pickles::dictionary({{"w", w}}));
  expect_refusal({{"a/data.pkl", pickle}}, R"(tensor "w" is stored in "a/data/0", which is missing)");
  expect_refusal({{"a/data.pkl", pickle}, {"a/data/0", std::string(20, 'x')}},
                 "has 20 bytes; 6 elements of 4 bytes are needed");
  expect_refusal({{"a/data.pkl", pickle}, {"a/data/0", std::string(28, 'x')}}, "has 28 bytes");
  expect_refusal({{"a/data.pkl", pickle}, {"a/byteorder", "big"}},
                 R"(its byte order is "big"; only "little" is supported)");
  expect_refusal({{"a/data.pkl", pickle}, {"b/data.pkl", pickle}}, "more than one data.pkl");
  expect_refusal({{"data.pkl", pickle}}, "holds no data.pkl");
  expect_refusal({{"a/data.pkl", pickle}, {"a/constants.pkl", "x"}}, "holds a TorchScript program");
  expect_refusal({{"a/data.pkl", pickles::whole(pickles::global("os", "system"))}},
                 R"(holds the name "os.system"; a state_dict)");
  const std::string spread = pickles::tensor({.shape = {2, 1}, .strides = {4095, 1}, .elements = 4096});
  std::vector<TensorSource> tensors;
  pickles::write_zip(folder / "w.pth", {{"a/data.pkl", pickles::whole(pickles::dictionary({{"w", spread}}))},
                                        {"a/data/0", std::string(16384, '\0')}});
  tensors = open_pytorch_file(folder / "w.pth").tensors;
  CHECK(contains(error_of([&] { tensors.at(0).values(); }),
                 "is a view spread over 4096 elements; save tensor.contiguous() instead"));
  const std::string repeated = pickles::tensor({.shape = {1'000'000'000'000, 2}, .strides = {0, 1}, .elements = 2});
  pickles::write_zip(folder / "w.pth", {{"a/data.pkl", pickles::whole(pickles::dictionary({{"w", repeated}}))},
                                        {"a/data/0", std::string(8, '\0')}});
  tensors = open_pytorch_file(folder / "w.pth").tensors;
  CHECK(contains(error_of([&] { tensors.at(0).values(); }), "repeats 2 elements; save tensor.contiguous() instead"));

  // An entry that claims false sizes is refused when the file is opened, before memory is allocated for its values.
  const std::string large = pickles::tensor({.shape = {1 << 28}, .strides = {1}, .elements = 1 << 28});
  pickles::write_zip(folder / "w.pth", {{"a/data.pkl", pickles::whole(pickles::dictionary({{"w", large}}))},
                                        {"a/data/0", std::string(1 << 20, '\0'), true}});
  pickles::claim_sizes(folder / "w.pth", "a/data/0", 1000, 1 << 30);
  CHECK(contains(error_of([&] { open_pytorch_file(folder / "w.pth"); }), "claims to unpack 1000 bytes to 1073741824"));

  write_file(folder / "w.pth", "hello, world");
  CHECK(contains(refusal(folder / "w.pth", graph), "is neither a safetensors file nor"));
  write_file(folder / "w.pth", "<!DOCTYPE html><html>");
  CHECK(contains(refusal(folder / "w.pth", graph), "is a web page, not the weights"));
  write_file(folder / "w.pth", "pickle" + std::string(251, '\0') + "ustar");
  CHECK(contains(refusal(folder / "w.pth", graph), "is a tar archive, as PyTorch wrote before 0.1.10"));
  write_file(folder / "w.pth", "");
  CHECK(contains(refusal(folder / "w.pth", graph), "is neither a safetensors file nor"));
  write_file(folder / "w.pth", "PK\x03\x04 and nothing");
  CHECK(contains(refusal(folder / "w.pth", graph), "is not a complete zip archive"));
  CHECK(contains(refusal(folder / "nowhere", graph), "can't be opened"));
}
