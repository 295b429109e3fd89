#include "interchange/safetensors.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "facet/error.h"
#include "interchange/raw_safetensors.h"
#include "temporary_folder.h"

using namespace facet;
using namespace facet::interchange;

namespace {

TensorSource floats(const std::string& name, Shape shape, std::vector<float> values) {
  return {name, std::move(shape), [values = std::move(values)] { return values; }, DataType::f32};
}

TensorSource counters(const std::string& name, Shape shape, std::vector<std::int64_t> values) {
  return {name, std::move(shape), [values = std::move(values)] { return values; }, DataType::s64};
}

}  // namespace

TEST_CASE("what was written is read back, bit for bit") {
  const TemporaryFolder folder;
  const auto file = folder / "a.safetensors";
  constexpr float infinity = std::numeric_limits<float>::infinity();
  write_safetensors(
      file, {{"key", "va\"lue\n"}, {"empty", ""}},
      {floats("a.weight", {2, 3}, {1, -2.5F, 1e-40F, infinity, 0, -0.0F}),
       counters("a.num_batches_tracked", {}, {std::numeric_limits<std::int64_t>::min()}), floats("a.none", {0, 4}, {}),
       floats("a.scalar", {}, {7}), floats("\u00fc \"b\"", {1}, {8}), counters("a.counts", {2}, {1, -1})});

  const SafetensorsReader reader(file);
  CHECK(reader.metadata() == Metadata{{"key", "va\"lue\n"}, {"empty", ""}});
  CHECK(reader.tensors().size() == 6);
  const auto weight = reader.read_f32(reader.require("a.weight", {2, 3}));
  CHECK(weight == std::vector<float>{1, -2.5F, 1e-40F, infinity, 0, -0.0F});
  CHECK(std::signbit(weight[5]));
  CHECK(reader.read_s64(reader.require("a.num_batches_tracked", {})) ==
        std::vector<std::int64_t>{std::numeric_limits<std::int64_t>::min()});
  CHECK(reader.read_f32(reader.require("a.none", {0, 4})).empty());
  CHECK(reader.read_f32(reader.require("a.scalar", {})) == std::vector<float>{7});
  CHECK(reader.read_f32(reader.require("\u00fc \"b\"", {1})) == std::vector<float>{8});
  CHECK(reader.read_s64(reader.require("a.counts", {2})) == std::vector<std::int64_t>{1, -1});
  CHECK(reader.find("a") == nullptr);
}

TEST_CASE("every tensor is aligned to its elements, which PyTorch wants") {
  const TemporaryFolder folder;
  const auto file = folder / "a.safetensors";
  write_safetensors(file, {}, {floats("odd", {3}, {1, 2, 3}), counters("late", {}, {5}), floats("last", {1}, {4})});
  std::uint64_t header = 0;
  std::memcpy(&header, read_file(file).data(), sizeof(header));
  CHECK(header % 8 == 0);
  const SafetensorsReader reader(file);
  CHECK(reader.tensors()[0].name == "late");
  CHECK(reader.tensors()[1].name == "odd");
  CHECK(reader.tensors()[2].name == "last");
  for (const TensorEntry& tensor : reader.tensors()) CHECK(tensor.begin % size_of(tensor.type) == 0);
}

TEST_CASE("half and bfloat16 are read as floats") {
  const TemporaryFolder folder;
  const auto file = folder / "a.safetensors";
  const auto write = [&](const std::string& type, const std::vector<std::uint16_t>& bits) {
    const std::string count = std::to_string(bits.size());
    write_raw(file,
              R"({"w":{"dtype":")" + type + R"(","shape":[)" + count + R"(],"data_offsets":[0,)" +
                  std::to_string(bits.size() * 2) + "]}}",
              std::string(reinterpret_cast<const char*>(bits.data()), bits.size() * 2));
    const SafetensorsReader reader(file);
    return reader.read_f32(reader.tensors().at(0));
  };
  SUBCASE("f16") {
    const auto values =
        write("F16", {0x3C00, 0xC000, 0x7BFF, 0x0001, 0x83FF, 0x0400, 0x8000, 0x7C00, 0xFC00, 0x7E00, 0x3555});
    CHECK(values[0] == 1);
    CHECK(values[1] == -2);
    CHECK(values[2] == 65504);
    CHECK(values[3] == std::ldexp(1.0F, -24));
    CHECK(values[4] == -std::ldexp(1023.0F, -24));
    CHECK(values[5] == std::ldexp(1.0F, -14));
    CHECK((values[6] == 0 && std::signbit(values[6])));
    CHECK(values[7] == std::numeric_limits<float>::infinity());
    CHECK(values[8] == -std::numeric_limits<float>::infinity());
    CHECK(std::isnan(values[9]));
    CHECK(values[10] == 0.333251953125F);
  }
  SUBCASE("bf16") {
    const auto values = write("BF16", {0x3F80, 0xC000, 0x3EAB, 0x7F80, 0x7FC0});
    CHECK(values[0] == 1);
    CHECK(values[1] == -2);
    CHECK(values[2] == 0.333984375F);
    CHECK(values[3] == std::numeric_limits<float>::infinity());
    CHECK(std::isnan(values[4]));
  }
  SUBCASE("more than a piece") {
    std::vector<std::uint16_t> bits(200001, 0x3F80);
    bits[65535] = 0x4000;
    bits[65536] = 0x4040;
    bits.back() = 0x4080;
    const auto values = write("BF16", bits);
    REQUIRE(values.size() == bits.size());
    CHECK(values[65534] == 1);
    CHECK(values[65535] == 2);
    CHECK(values[65536] == 3);
    CHECK(values.back() == 4);
  }
}

TEST_CASE("another type, shape or name than what is wanted") {
  const TemporaryFolder folder;
  const auto file = folder / "a.safetensors";
  write_safetensors(file, {}, {floats("w", {2, 3}, std::vector<float>(6)), counters("n", {}, {5})});
  const SafetensorsReader reader(file);
  const std::string name = file.string();
  CHECK_THROWS_WITH_AS(reader.require("v", {2, 3}), (name + ": has no tensor \"v\"").c_str(), Error);
  CHECK_THROWS_WITH_AS(reader.require("w", {3, 2}), (name + ": tensor \"w\" has the shape 2x3, 3x2 is wanted").c_str(),
                       Error);
  CHECK_THROWS_WITH_AS(reader.read_f32(*reader.find("n")),
                       (name + ": tensor \"n\" has the dtype I64; F32, F16 or BF16 is wanted").c_str(), Error);
  CHECK_THROWS_WITH_AS(reader.read_s64(*reader.find("w")),
                       (name + ": tensor \"w\" has the dtype F32; I64 is wanted").c_str(), Error);
}

TEST_CASE("a write that fails leaves the old file and nothing else") {
  const TemporaryFolder folder;
  const auto file = folder / "a.safetensors";
  write_safetensors(file, {}, {floats("w", {2}, {1, 2})});
  const std::string before = read_file(file);

  CHECK_THROWS_WITH_AS(write_safetensors(file, {}, {floats("v", {1}, {1}), floats("w", {2}, {1})}),
                       (file.string() + ": tensor \"w\" of shape 2 was given 1 values of 4 bytes").c_str(), Error);
  CHECK_THROWS_AS(write_safetensors(file, {}, {floats("w", {1}, {1}), floats("v", {}, {1}), floats("w", {1}, {1})}),
                  Error);
  CHECK_THROWS_AS(write_safetensors(file, {}, {floats("__metadata__", {1}, {1})}), Error);
  CHECK_THROWS_AS(write_safetensors(file, {{"k", "\xff"}}, {}), Error);
  CHECK_THROWS_AS(write_safetensors(file, {}, {floats("\xff", {1}, {1})}), Error);
  const auto source = []() -> std::vector<float> { throw Error("no values"); };
  CHECK_THROWS_WITH_AS(write_safetensors(file, {}, {floats("v", {1}, {1}), {"w", {1}, source, DataType::f32}}), "no values", Error);

  CHECK(read_file(file) == before);
  int files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(file.parent_path())) ++files;
  CHECK(files == 1);
}

TEST_CASE("a tensor is on its way to the disk before the next one's values are asked for") {
  const TemporaryFolder folder;
  const std::size_t count = 1 << 20;
  std::uintmax_t written = 0;
  const auto look = [&] {
    for (const auto& entry : std::filesystem::directory_iterator((folder / "a").parent_path()))
      written = entry.file_size();
    return std::vector<float>(1);
  };
  write_safetensors(folder / "a", {}, {floats("a", {count}, std::vector<float>(count)), {"b", {1}, look}});
  CHECK(written >= count * sizeof(float));
}
