#include "facet/model_file.h"

#include <doctest/doctest.h>

#include <cmath>

#include "facet/error.h"
#include "facet/graph.h"
#include "formats/model_file.h"
#include "formats/raw_safetensors.h"
#include "graph/op.h"
#include "testing.h"

using namespace facet;
using namespace facet::formats;

namespace {

/// Parameters of all kinds that a model has: weight, statistic, counter.
Graph small_graph() {
  Graph graph;
  const Scope scope(graph, "bn");
  graph::add_parameter(graph, "weight", {4, 3, 2, 1}, Initializer::uniform(1));
  graph::add_parameter(graph, "running_var", {3}, Initializer::ones(), false);
  graph::add_parameter(graph, "num_batches_tracked", {}, Initializer::zeros(), false, DataType::s64);
  return graph;
}

ModelInfo small_info() {
  return {.model = "small", .size = 8, .heads = {{"b", {"y", "x"}}, {"a", {"1", "2", "3"}}}, .normalization = {}};
}

constexpr std::int64_t many_batches = (std::int64_t{1} << 40) + 1;  // a float can't represent it

Parameters trained() {
  Parameters parameters(small_graph(), 1);
  parameters.set(parameters.find("bn.running_var"), {1, 2, 0.3F});
  parameters.set_counter(parameters.find("bn.num_batches_tracked"), many_batches);
  return parameters;
}

std::string tensor(const std::string& name, const std::string& type, const std::string& shape, int begin, int end) {
  return "\"" + name + R"(":{"dtype":")" + type + R"(","shape":)" + shape + R"(,"data_offsets":[)" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}

const std::string weight = tensor("bn.weight", "F32", "[4,3,2,1]", 0, 96);
const std::string variance = tensor("bn.running_var", "BF16", "[3]", 96, 102);
const std::string counter = tensor("bn.num_batches_tracked", "I64", "[]", 102, 110);

}  // namespace

TEST_CASE("weights and their description are read back, bit for bit") {
  const TemporaryFolder folder;
  const auto file = folder / "model.safetensors";
  const Parameters parameters = trained();
  save_model(file, small_info(), parameters);

  CHECK(read_metadata(file).at("model") == "small");
  CHECK(!read_metadata(file).contains("crc32c"));
  const ModelInfo info = read_model_info(file);
  CHECK(info.model == "small");
  CHECK(info.size == 8);
  CHECK(info.heads == small_info().heads);
  CHECK(info.normalization == Normalization{});

  Parameters other(small_graph(), 2);
  CHECK(other.get(0) != parameters.get(0));
  load_weights(file, other);
  CHECK(other.get(0) == parameters.get(0));
  CHECK(other.get(1) == std::vector<float>{1, 2, 0.3F});
  CHECK(other.get_counter(2) == many_batches);
}

TEST_CASE("a size that isn't square is read back from a file; a hostile one is refused with the file's name") {
  const TemporaryFolder folder;
  const auto file = folder / "model.safetensors";
  ModelInfo info = small_info();
  info.size = {48, 32};
  save_model(file, info, trained());
  CHECK(read_model_info(file).size == ImageSize(48, 32));
  CHECK(SafetensorsReader(file).metadata().at("size") == "48x32");

  Metadata metadata = to_metadata(file.string(), info);
  metadata["size"] = "48x-2";
  write_safetensors(file, metadata, {});
  CHECK(error_of([&] { read_model_info(file); }) ==
        file.string() + ": its `size` is \"48x-2\"; 1 to 16384, or HEIGHTxWIDTH of such numbers, is allowed");
}

TEST_CASE("the file holds tensors of the parameters' names and shapes, and no others") {
  const TemporaryFolder folder;
  const auto file = folder / "model.safetensors";
  const Parameters parameters = trained();
  save_model(file, small_info(), parameters);
  const SafetensorsReader reader(file);
  CHECK(reader.tensors().size() == parameters.list().size());
  CHECK(reader.read_f32(reader.require("bn.weight", {4, 3, 2, 1})) == parameters.get(0));
  CHECK(reader.read_f32(reader.require("bn.running_var", {3})) == std::vector<float>{1, 2, 0.3F});
  CHECK(reader.read_s64(reader.require("bn.num_batches_tracked", {})) == std::vector<std::int64_t>{many_batches});
}

TEST_CASE("weights of another program's file are loaded, without a description and partly of 16 bits") {
  const TemporaryFolder folder;
  std::string data(110, '\0');
  data[97] = 0x40;  // 2 in bfloat16, little-endian
  data[102] = 5;
  write_raw(folder / "a", "{" + weight + "," + variance + "," + counter + "}", data);
  Parameters parameters = trained();
  load_weights(folder / "a", parameters);
  CHECK(parameters.get(0) == std::vector<float>(24));
  CHECK(parameters.get(1) == std::vector<float>{2, 0, 0});
  CHECK(parameters.get_counter(2) == 5);
  CHECK_THROWS_AS(read_model_info(folder / "a"), Error);
}

TEST_CASE("weights that don't fit are refused, and nothing is set") {
  struct Case {
    std::string header;
    std::size_t bytes;
    std::string message;
  };
  const Case cases[] = {
      {weight + "," + variance, 102, "the file has no tensor \"bn.num_batches_tracked\""},
      {tensor("bn.weight", "F32", "[3,4,2,1]", 0, 96) + "," + variance + "," + counter, 110,
       "tensor \"bn.weight\" has the shape 3x4x2x1; 4x3x2x1 is needed"},
      {weight + "," + variance + "," + tensor("bn.num_batches_tracked", "I64", "[1]", 102, 110), 110,
       "tensor \"bn.num_batches_tracked\" has the shape 1; scalar is needed"},
      {weight + "," + variance + "," + tensor("bn.num_batches_tracked", "F32", "[]", 102, 106), 106,
       "tensor \"bn.num_batches_tracked\" has the dtype F32; I64 is needed"},
      {weight + "," + tensor("bn.running_var", "I64", "[3]", 96, 120) + "," +
           tensor("bn.num_batches_tracked", "I64", "[]", 120, 128),
       128, "tensor \"bn.running_var\" has the dtype I64; F32, F64, F16 or BF16 is needed"},
      {weight + "," + variance + "," + counter + "," + tensor("fc.bias", "F32", "[1]", 110, 114), 114,
       "tensor \"fc.bias\" isn't in the model"},
  };
  const TemporaryFolder folder;
  const auto file = folder / "a";
  const Parameters before = trained();
  for (const Case& invalid : cases) {
    CAPTURE(invalid.message);
    write_raw(file, "{" + invalid.header + "}", std::string(invalid.bytes, '\0'));
    Parameters parameters = trained();
    CHECK_THROWS_WITH_AS(load_weights(file, parameters), (file.string() + ": " + invalid.message).c_str(), Error);
    CHECK(parameters.get(0) == before.get(0));
    CHECK(parameters.get(1) == before.get(1));
    CHECK(parameters.get_counter(2) == many_batches);
  }
}

TEST_CASE("invalid variances are refused, also in files of facet") {
  const TemporaryFolder folder;
  const auto file = folder / "a";
  struct Case {
    float value;
    const char* shown;
  };
  for (const Case& invalid : {Case{-0.5F, "-0.5"}, Case{-1e-30F, "-1e-30"}, Case{INFINITY, "inf"}, Case{NAN, "nan"}}) {
    Parameters written = trained();
    written.set(written.find("bn.running_var"), {1, invalid.value, 2});
    save_model(file, small_info(), written);
    Parameters parameters = trained();
    const std::string message = file.string() + ": tensor \"bn.running_var\" holds " + invalid.shown +
                                "; finite numbers of at least 0 are allowed";
    CHECK_THROWS_WITH_AS(load_weights(file, parameters), message.c_str(), Error);
    CHECK_THROWS_WITH_AS(load_pretrained(file, small_graph(), {}, parameters), message.c_str(), Error);
  }
  Parameters written = trained();
  written.set(written.find("bn.running_var"), {0, -0.0F, 3e38F});
  save_model(file, small_info(), written);
  Parameters parameters = trained();
  load_weights(file, parameters);
}

TEST_CASE("a run's state is in the metadata, beside the model's own keys") {
  const TemporaryFolder folder;
  const auto file = folder / "last.safetensors";
  const Metadata state{{"optimizer_file", "last.optimizer-7.safetensors"}, {"state", R"({"step":7})"}};
  write_model_file(file, small_info(), trained(), state);

  const SafetensorsReader reader(file);
  for (const auto& [key, value] : state) CHECK(reader.metadata().at(key) == value);
  CHECK(model_info_of(reader).heads == small_info().heads);
  CHECK(read_model_info(file).model == "small");
  Parameters parameters(small_graph(), 2);
  load_weights(file, parameters);
  CHECK(parameters.get_counter(2) == many_batches);

  CHECK_THROWS_WITH_AS(
      write_model_file(file, small_info(), trained(), {{"heads", "x"}}),
      (file.string() + ": the state can't have the key `heads`, which the model's metadata uses").c_str(), Error);
  CHECK(SafetensorsReader(file).metadata() == reader.metadata());
}

TEST_CASE("system errors name the file") {
  const TemporaryFolder folder;
  const auto file = folder / "missing";
  CHECK_THROWS_WITH_AS(read_model_info(file), (file.string() + ": can't be opened: No such file or directory").c_str(),
                       Error);
  CHECK_THROWS_AS(save_model(file / "model.safetensors", small_info(), trained()), Error);
}
