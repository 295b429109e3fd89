#include "formats/safetensors.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "facet/error.h"
#include "formats/raw_safetensors.h"
#include "testing.h"

using namespace facet;
using namespace facet::formats;

namespace {

TensorSource floats(const std::string& name, Shape shape, std::vector<float> values) {
  return {name, std::move(shape), [values = std::move(values)] { return values; }, DataType::f32};
}

TensorSource counters(const std::string& name, Shape shape, std::vector<std::int64_t> values) {
  return {name, std::move(shape), [values = std::move(values)] { return values; }, DataType::s64};
}

/// The error of opening the file and reading all of its tensors, without the file's name; "" when there is none.
std::string refusal(const std::filesystem::path& file) {
  try {
    const SafetensorsReader reader(file);
    for (const TensorEntry& tensor : reader.tensors()) {
      tensor.type == ElementType::s64 ? (void)reader.read_s64(tensor) : (void)reader.read_f32(tensor);
    }
    return "";
  } catch (const Error& error) {
    const std::string what = error.what();
    CHECK_MESSAGE(what.starts_with(file.string() + ": "), what);
    CHECK_MESSAGE(what.find('\n') == std::string::npos, what);
    return what.substr(std::min(what.size(), file.string().size() + 2));
  }
}

}  // namespace

TEST_CASE("tensors and metadata are read back as they were written, bit for bit") {
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

TEST_CASE("every tensor is aligned to its element size, as PyTorch needs it") {
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
  SUBCASE("more than one chunk") {
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

TEST_CASE("doubles are read as floats") {
  const TemporaryFolder folder;
  const double values[] = {1, 0.1, 1e-60, 1e300};
  write_raw(folder / "a", R"({"w":{"dtype":"F64","shape":[2,2],"data_offsets":[0,32]}})",
            std::string(reinterpret_cast<const char*>(values), sizeof values));
  const SafetensorsReader reader(folder / "a");
  CHECK(reader.read_f32(reader.tensors().at(0)) ==
        std::vector<float>{1, 0.1F, 0, std::numeric_limits<float>::infinity()});
}

TEST_CASE("another type or shape than requested, and a missing tensor, are errors") {
  const TemporaryFolder folder;
  const auto file = folder / "a.safetensors";
  write_safetensors(file, {}, {floats("w", {2, 3}, std::vector<float>(6)), counters("n", {}, {5})});
  const SafetensorsReader reader(file);
  const std::string name = file.string();
  CHECK_THROWS_WITH_AS(reader.require("v", {2, 3}), (name + ": the file has no tensor \"v\"").c_str(), Error);
  CHECK_THROWS_WITH_AS(reader.require("w", {3, 2}), (name + ": tensor \"w\" has the shape 2x3; 3x2 is needed").c_str(),
                       Error);
  CHECK_THROWS_WITH_AS(reader.read_f32(*reader.find("n")),
                       (name + ": tensor \"n\" has the dtype I64; F32, F64, F16 or BF16 is needed").c_str(), Error);
  CHECK_THROWS_WITH_AS(reader.read_s64(*reader.find("w")),
                       (name + ": tensor \"w\" has the dtype F32; I64 is needed").c_str(), Error);
}

TEST_CASE("a failed write keeps the old file and leaves no other") {
  const TemporaryFolder folder;
  const auto file = folder / "a.safetensors";
  write_safetensors(file, {}, {floats("w", {2}, {1, 2})});
  const std::string before = read_file(file);

  CHECK_THROWS_WITH_AS(
      write_safetensors(file, {}, {floats("v", {1}, {1}), floats("w", {2}, {1})}),
      (file.string() + ": tensor \"w\" of shape 2 has 1 values of 4 bytes, which don't fit its shape and type").c_str(),
      Error);
  CHECK_THROWS_AS(write_safetensors(file, {}, {floats("w", {1}, {1}), floats("v", {}, {1}), floats("w", {1}, {1})}),
                  Error);
  CHECK_THROWS_AS(write_safetensors(file, {}, {floats("__metadata__", {1}, {1})}), Error);
  CHECK_THROWS_AS(write_safetensors(file, {{"k", "\xff"}}, {}), Error);
  CHECK_THROWS_AS(write_safetensors(file, {}, {floats("\xff", {1}, {1})}), Error);
  const auto source = []() -> std::vector<float> { throw Error("no values"); };
  CHECK_THROWS_WITH_AS(write_safetensors(file, {}, {floats("v", {1}, {1}), {"w", {1}, source, DataType::f32}}),
                       "no values", Error);

  CHECK(read_file(file) == before);
  int files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(file.parent_path())) ++files;
  CHECK(files == 1);
}

TEST_CASE("a tensor is written before the next one's values are requested") {
  const TemporaryFolder folder;
  const std::size_t count = 1 << 20;
  std::uintmax_t written = 0;
  const auto measure_file = [&] {
    for (const auto& entry : std::filesystem::directory_iterator((folder / "a").parent_path()))
      written = entry.file_size();
    return std::vector<float>(1);
  };
  write_safetensors(folder / "a", {}, {floats("a", {count}, std::vector<float>(count)), {"b", {1}, measure_file}});
  CHECK(written >= count * sizeof(float));
}

TEST_CASE("any flipped bit of a file is detected") {
  const TemporaryFolder folder;
  const auto file = folder / "a.safetensors";
  write_safetensors(
      file, {{"size", "224"}, {"mean", "[0.485,0.456,0.406]"}},
      {floats("bn.running_var", {2, 3}, {1, 2, 3, 4, 5, 6}), counters("bn.count", {}, {7}), floats("w", {1}, {-0.0F})});
  REQUIRE(refusal(file) == "");
  const std::string good = read_file(file);
  const std::size_t key = good.find("crc32c");  // a file whose key is damaged has no CRCs; its tensors are correct
  for (std::size_t at = 0; at < good.size(); ++at) {
    if (at >= key && at < key + 6) continue;
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = good;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      write_file(file, damaged);
      CAPTURE(at);
      CAPTURE(bit);
      CHECK(refusal(file) != "");
    }
  }
  std::string damaged = good;
  damaged[good.size() - 4] ^= 1;  // the first byte of w, the last tensor
  write_file(file, damaged);
  CHECK(refusal(file).starts_with("the file is damaged: tensor \"w\" has the CRC-32C "));
  damaged = good;
  damaged.replace(damaged.find("224"), 3, "225");
  write_file(file, damaged);
  CHECK(refusal(file) == "the file is damaged: its metadata doesn't have the CRC-32C that it was written with");
}

TEST_CASE("a file without CRCs is read; incomplete, malformed and wrong CRCs are refused") {
  const TemporaryFolder folder;
  const auto file = folder / "a";
  // CRC-32C of two zero bytes and of no metadata.
  const std::string w = R"("w":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}})";
  const auto refusal_with = [&](const std::string& checksums) {
    write_raw(file, R"({"__metadata__":{"crc32c":")" + checksums + "\"}," + w, std::string(2, '\0'));
    return refusal(file);
  };
  write_raw(file, "{" + w, std::string(2, '\0'));
  CHECK(refusal(file) == "");
  write_raw(file, R"({"__metadata__":{"other":"1"},)" + w, std::string(2, '\0'));
  CHECK(refusal(file) == "");

  const std::string none = R"(\"__metadata__\":\"00000000\")", valid = R"(\"w\":\"f16177d2\")";
  CHECK(refusal_with("{" + none + "," + valid + "}") == "");
  CHECK(refusal_with("{" + valid + "," + none + "}") == "");
  CHECK(refusal_with("{" + none + R"(,\"w\":\"f16177d3\"})") ==
        "the file is damaged: tensor \"w\" has the CRC-32C f16177d2, but was written with f16177d3");
  CHECK(refusal_with("{" + none + R"(,\"v\":\"f16177d2\"})") == "its `crc32c` has no CRC-32C of \"w\"");
  CHECK(refusal_with("{" + valid + R"(,\"v\":\"f16177d2\"})") == "its `crc32c` has no CRC-32C of \"__metadata__\"");
  CHECK(refusal_with("{" + valid + "}") ==
        "its `crc32c` has 1 CRC-32Cs; one for each tensor and one for the metadata are needed, 2 in all");
  CHECK(refusal_with("{" + none + "," + valid + R"(,\"v\":\"f16177d2\"})")
            .starts_with("its `crc32c` has 3 CRC-32Cs; one for each tensor"));
  for (const char* invalid : {"f16177d", "f16177d2a", "F16177D2", "f16177dg", " 16177d2", ""}) {
    CHECK(refusal_with("{" + none + R"(,\"w\":\")" + invalid + "\\\"}").find("; 8 hexadecimal digits are needed") !=
          std::string::npos);
  }
  CHECK(refusal_with("{" + none + R"(,\"w\":1234})") ==
        "the CRC-32C of \"w\" is \"1234\"; 8 hexadecimal digits are needed");
  for (const std::string invalid : {"", "[]", "f16177d2", "{"})
    CHECK(refusal_with(invalid) == "its `crc32c` is not a JSON object");
  CHECK_THROWS_AS(write_safetensors(file, {{"crc32c", "{}"}}, {}), Error);
}

TEST_CASE("a file that is written through an open descriptor has CRCs too") {
  const TemporaryFolder folder;
  const int descriptor = ::open((folder / "a").c_str(), O_WRONLY | O_CREAT, 0600);
  write_safetensors("/proc/self/fd/" + std::to_string(descriptor), {}, {floats("w", {2}, {1, 2})});
  ::close(descriptor);
  CHECK(refusal(folder / "a") == "");
  const SafetensorsReader reader(folder / "a");
  CHECK(reader.require("w", {2}).crc32c.has_value());
  CHECK(*reader.find("w")->crc32c != 0);
}
