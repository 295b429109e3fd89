#include <doctest/doctest.h>

#include <limits>

#include "facet/error.h"
#include "formats/model_file.h"
#include "inference/small_model.h"

using namespace facet;
using namespace facet::formats;

namespace {

ModelInfo faces() {
  return {.model = "reference",
          .size = 64,
          .heads = {{"race", {"White", "Black", "East Asian"}}, {"age", {"0-2", "more than 70", "a \"b\", \u00fc"}}},
          .normalization = {.mean = {0.1F, 0, -1.0F / 3}, .std = {0.229F, 1e-7F, 3}}};
}

}  // namespace

TEST_CASE("a model's description is read back, with heads and classes in their order") {
  const ModelInfo info = faces();
  const Metadata metadata = to_metadata("f", info);
  const ModelInfo back = to_model_info("f", metadata);
  CHECK(back.model == info.model);
  CHECK(back.size == info.size);
  CHECK(back.heads == info.heads);
  CHECK(back.normalization == info.normalization);
  CHECK(back.shape.empty());
}

TEST_CASE("a model's shape is kept unchanged") {
  ModelInfo info = faces();
  info.shape = R"({"stem":8} \u00fc)";
  const Metadata metadata = to_metadata("f", info);
  CHECK(metadata.at("shape") == info.shape);
  CHECK(to_model_info("f", metadata).shape == info.shape);
}

TEST_CASE("the resize mode is kept; a file of an earlier version, which lacks it, means squash") {
  ModelInfo info = faces();
  info.resize = ResizeMode::crop;
  Metadata metadata = to_metadata("f", info);
  CHECK(metadata.at("resize") == "crop");
  CHECK(to_model_info("f", metadata).resize == ResizeMode::crop);
  metadata.erase("resize");
  CHECK(to_model_info("f", metadata).resize == ResizeMode::squash);
}

TEST_CASE("an ordinal head is kept, and only what isn't the default is written") {
  ModelInfo info = faces();
  info.heads[1].ordinal = true;
  const Metadata metadata = to_metadata("f", info);
  CHECK(metadata.at("heads").find("ordinal") == metadata.at("heads").rfind("ordinal"));
  CHECK(to_model_info("f", metadata).heads == info.heads);
  Metadata odd = metadata;
  odd["heads"] = R"([{"name":"age","classes":["a","b"],"ordinal":1}])";
  CHECK_THROWS_WITH_AS(to_model_info("f", odd), doctest::Contains("its `heads` is"), Error);
  info.resize = ResizeMode::cover;
  CHECK_THROWS_WITH_AS(to_metadata("f", info), "f: its resize mode is cover; squash or crop is allowed", Error);
}

TEST_CASE("the metadata has these keys and values") {
  ModelInfo info;
  info.heads = {{"gender", {"Male", "Female"}}};
  CHECK(to_metadata("f", info) == Metadata{{"format", "facet"},
                                           {"version", "1"},
                                           {"model", "reference"},
                                           {"size", "224"},
                                           {"resize", "squash"},
                                           {"heads", R"([{"name":"gender","classes":["Male","Female"]}])"},
                                           {"mean", "[0.485,0.456,0.406]"},
                                           {"std", "[0.229,0.224,0.225]"}});
}

TEST_CASE("a size is the side of a square, as earlier versions read it, or height x width") {
  ModelInfo info = faces();
  CHECK(to_metadata("f", info).at("size") == "64");
  info.size = {48, 32};
  Metadata metadata = to_metadata("f", info);
  CHECK(metadata.at("size") == "48x32");
  CHECK(to_model_info("f", metadata).size == ImageSize(48, 32));
  metadata["size"] = "64x64";
  CHECK(to_model_info("f", metadata).size == ImageSize(64));
}

TEST_CASE("an invalid description is not written") {
  const auto refused = [](auto&& change) {
    ModelInfo info = faces();
    change(info);
    CHECK_THROWS_AS(to_metadata("f", info), Error);
  };
  refused([](ModelInfo& info) { info.model.clear(); });
  refused([](ModelInfo& info) { info.model = "caf\xe9"; });
  refused([](ModelInfo& info) { info.shape = "caf\xe9"; });
  ModelInfo wide = faces();
  wide.size = {1, 16385};
  CHECK_THROWS_WITH_AS(to_metadata("f", wide), "f: its size is 1x16385; 1 to 16384 is allowed for each side", Error);
  refused([](ModelInfo& info) { info.size = 0; });
  refused([](ModelInfo& info) { info.size = {0, 64}; });
  refused([](ModelInfo& info) { info.size = {64, 16385}; });
  refused([](ModelInfo& info) { info.heads.clear(); });
  refused([](ModelInfo& info) { info.heads[0].classes.clear(); });
  refused([](ModelInfo& info) { info.heads[1].name = info.heads[0].name; });
  refused([](ModelInfo& info) { info.heads[0].name.clear(); });
  refused([](ModelInfo& info) { info.heads[0].classes[2] = info.heads[0].classes[0]; });
  refused([](ModelInfo& info) { info.heads[0].classes.emplace_back("\xe9"); });
  refused([](ModelInfo& info) { info.normalization.std[1] = 0; });
  refused([](ModelInfo& info) { info.normalization.mean[1] = std::numeric_limits<float>::quiet_NaN(); });
}

TEST_CASE("invalid metadata is refused with a message") {
  struct Case {
    std::string key;
    const char* value;  ///< null: the key is missing
    std::string message;
  };
  const Case cases[] = {
      {"format", nullptr,
       R"(f: the file is not a model file of facet: its metadata has the format (none); "facet" is needed)"},
      {"format", "pt",
       R"(f: the file is not a model file of facet: its metadata has the format "pt"; "facet" is needed)"},
      {"version", nullptr, "f: its metadata has no `version`"},
      {"version", "2", R"(f: its metadata has the version "2"; "1" is supported)"},
      {"model", nullptr, "f: its metadata has no `model`"},
      {"model", "", "f: its model has no name"},
      {"size", nullptr, "f: its metadata has no `size`"},
      {"resize", "pad", R"(f: its `resize` is "pad"; "squash" or "crop" is allowed)"},
      {"heads", nullptr, "f: its metadata has no `heads`"},
      {"heads", "[", R"(f: its `heads` is "["; a JSON list of objects with `name` and `classes` is needed)"},
      {"heads", "{}", R"(f: its `heads` is "{}"; a JSON list is needed)"},
      {"heads", "[1]", R"(f: its `heads` is "[1]"; a JSON list of objects with `name` and `classes` is needed)"},
      {"heads", "[]", "f: it has no heads"},
      {"heads", R"([{"name":"a","classes":[]}])", R"(f: its head "a" has no classes)"},
      {"heads", R"([{"name":"a","classes":["b","b"]}])", R"(f: its head "a" has the class "b" twice)"},
      {"mean", nullptr, "f: its metadata has no `mean`"},
      {"mean", "[1,2]", R"(f: its `mean` is "[1,2]"; a JSON list of three numbers is needed)"},
      {"mean", "[1,2,\"3\"]", R"(f: its `mean` is "[1,2,\"3\"]"; a JSON list of three numbers is needed)"},
      {"mean", "1", R"(f: its `mean` is "1"; a JSON list of three numbers is needed)"},
      {"std", "[1,1,1e60]", R"(f: its `std` is "[1,1,1e60]"; a JSON list of three numbers is needed)"},
      {"std", "[1,1,-1]", "f: its std holds -1; numbers above 0 are allowed"},
  };
  for (const Case& invalid : cases) {
    CAPTURE(invalid.key);
    CAPTURE(invalid.message);
    Metadata metadata = to_metadata("f", faces());
    metadata.erase(invalid.key);
    if (invalid.value != nullptr) metadata.emplace(invalid.key, invalid.value);
    CHECK_THROWS_WITH_AS(to_model_info("f", metadata), invalid.message.c_str(), Error);
  }
  for (const std::string text : {"", "64x", "x64", "99999999999", "-1", "0", "0x5", "48x-32", "48x32x3", "48 x 32",
                                 "48X32", "48x32.0", "axb", "4294967344x32", "16385", "1x16385", "16385x1"}) {
    CAPTURE(text);
    Metadata metadata = to_metadata("f", faces());
    metadata["size"] = text;
    CHECK_THROWS_WITH_AS(
        to_model_info("f", metadata),
        ("f: its `size` is \"" + text + "\"; 1 to 16384, or HEIGHTxWIDTH of such numbers, is allowed").c_str(), Error);
  }
}

TEST_CASE("additional keys are ignored") {
  Metadata metadata = to_metadata("f", faces());
  metadata.emplace("epoch", "3");
  CHECK(to_model_info("f", metadata).heads == faces().heads);
}

using namespace facet;

TEST_CASE("a graph must match its description") {
  const Graph graph = small::model();
  formats::require_graph(small::info(), graph);

  ModelInfo info = small::info();
  info.size = 32;
  CHECK(error_of([&] { formats::require_graph(info, graph); }) ==
        "model small: the graph's input has the shape 3x16x16; its description has 3x32x32");
  info = small::info();
  info.heads.pop_back();
  CHECK(error_of([&] { formats::require_graph(info, graph); }) ==
        "model small: the graph has 3 heads; its description has 2");
  info = small::info();
  info.heads[1].name = "edge";
  CHECK(error_of([&] { formats::require_graph(info, graph); }) ==
        "model small: head 2 of the graph is side; in its description it is edge");
  info = small::info();
  info.heads[0].classes.push_back("white");
  CHECK(error_of([&] { formats::require_graph(info, graph); }) ==
        "model small: head colour has 3 classes in the graph and 4 in its description");
}
