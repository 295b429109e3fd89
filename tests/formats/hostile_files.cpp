#include <doctest/doctest.h>
#include <sys/stat.h>

#include <fstream>

#include "facet/error.h"
#include "formats/raw_safetensors.h"
#include "formats/safetensors.h"
#include "testing.h"

using facet::Error;
using facet::TemporaryFolder;
using facet::formats::SafetensorsReader;

namespace {

/// The error of opening the file, without the file's name; "" when there is none.
std::string refusal(const std::filesystem::path& file) {
  try {
    const SafetensorsReader reader(file);
    return "";
  } catch (const Error& error) {
    const std::string what = error.what();
    CHECK_MESSAGE(what.starts_with(file.string() + ": "), what);
    CHECK_MESSAGE(what.find('\n') == std::string::npos, what);
    CHECK_MESSAGE(what.size() < file.string().size() + 500, what);
    return what.substr(std::min(what.size(), file.string().size() + 2));
  }
}

struct HeaderCase {
  std::string name;
  std::string header;
  std::size_t data_bytes;
  const char* message;  ///< a part of the error; "" where the file is valid
};

std::string tensor(const std::string& shape, const std::string& offsets, const std::string& type = "F32") {
  return R"({"dtype":")" + type + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

std::string one(const std::string& description) { return R"({"w":)" + description + "}"; }

}  // namespace

TEST_CASE("valid headers are read, and invalid ones are refused") {
  const std::string good = tensor("[1]", "[0,4]");
  const std::string many_extents = "[1" + [] {
    std::string text;
    for (int i = 0; i < 40; ++i) text += ",1";
    return text + "]";
  }();
  const std::vector<HeaderCase> cases{
      {"good", one(good), 4, ""},
      {"padded", one(good) + "    ", 4, ""},
      {"no tensors", "{}", 0, ""},
      {"no tensors, with metadata", R"({"__metadata__":{"a":"b"}})", 0, ""},
      {"no elements", one(tensor("[0]", "[0,0]")), 0, ""},
      {"an empty tensor at the border of two others",
       R"({"a":)" + good + R"(,"b":)" + tensor("[0]", "[4,4]") + R"(,"c":)" + tensor("[1]", "[4,8]") + "}", 8, ""},
      {"not in the order of names", R"({"a":)" + tensor("[1]", "[4,8]") + R"(,"b":)" + good + "}", 8, ""},

      {"empty", "", 0, "doesn't begin with '{'"},
      {"a list", "[]", 0, "doesn't begin with '{'"},
      {"leading space", " {}", 0, "doesn't begin with '{'"},
      {"cut off", R"({"w":)", 0, "is not JSON"},
      {"two objects", "{}{}", 0, "is not JSON"},
      {"NUL after it", std::string("{}\0", 3), 0, "is not JSON"},
      {"NUL and more after it", std::string("{}\0{}", 5), 0, "is not JSON"},
      {"not UTF-8", "{\"\xff\":1}", 0, "is not JSON"},
      {"number too large", one(tensor("[1e999]", "[0,4]")), 4, "is not JSON"},
      {"deep", "{\"w\":" + std::string(100000, '[') + std::string(100000, ']') + "}", 0, "nested too deeply"},
      {"deep, open", "{\"w\":" + std::string(100000, '['), 0, "nested too deeply"},
      {"a name twice", R"({"w":)" + good + R"(,"w":)" + good + "}", 4, R"(the key "w" twice)"},
      {"a name twice, escaped", R"({"w":)" + good + R"(,"\u0077":)" + good + "}", 4, R"(the key "w" twice)"},
      {"a key twice", one(R"({"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]})"), 4,
       R"(the key "dtype" twice)"},
      {"metadata twice", R"({"__metadata__":{},"__metadata__":{}})", 0, R"(the key "__metadata__" twice)"},
      {"a metadata key twice", R"({"__metadata__":{"a":"","a":""}})", 0, R"(the key "a" twice)"},
      {"metadata is a string", R"({"__metadata__":"x"})", 0, "not an object of strings"},
      {"metadata has a number", R"({"__metadata__":{"a":1}})", 0, R"("a" that is not a string)"},

      {"tensor is a number", one("1"), 0, R"(tensor "w" is not an object)"},
      {"no dtype", one(R"({"shape":[1],"data_offsets":[0,4]})"), 4, "has no dtype"},
      {"dtype is a number", one(R"({"dtype":32,"shape":[1],"data_offsets":[0,4]})"), 4, "has no dtype"},
      {"unknown dtype", one(tensor("[1]", "[0,4]", "I32")), 4,
       R"(has the dtype "I32"; F32, F64, F16, BF16 and I64 are supported)"},
      {"no shape", one(R"({"dtype":"F32","data_offsets":[0,4]})"), 4, "has no shape"},
      {"shape is a number", one(tensor("1", "[0,4]")), 4, "has no shape"},
      {"extent below 0", one(tensor("[-1]", "[0,4]")), 4, "not a whole number"},
      {"extents below 0", one(tensor("[-1,-1]", "[0,4]")), 4, "not a whole number"},
      {"extent with a fraction", one(tensor("[1.0]", "[0,4]")), 4, "not a whole number"},
      {"extent of 2^63", one(tensor("[9223372036854775808]", "[0,4]")), 4, "not a whole number"},
      {"extent of 2^64", one(tensor("[18446744073709551616]", "[0,4]")), 4, "not a whole number"},
      {"extent is a list", one(tensor("[[1]]", "[0,4]")), 4, "nested too deeply"},
      {"product of 2^64", one(tensor("[4294967296,4294967296]", "[0,0]")), 0, "bytes don't fit into 64 bits"},
      {"product of 2^64 + 4", one(tensor("[4611686018427387905]", "[0,4]")), 4, "bytes don't fit into 64 bits"},
      {"product that overflows before a factor of 0", one(tensor("[4294967296,4294967296,0]", "[0,0]")), 0,
       "bytes don't fit into 64 bits"},
      {"many extents", one(tensor(many_extents, "[0,4]")), 4, "a shape of 41 extents"},

      {"no offsets", one(R"({"dtype":"F32","shape":[1]})"), 4, "has no data_offsets"},
      {"one offset", one(tensor("[1]", "[4]")), 4, "has no data_offsets"},
      {"three offsets", one(tensor("[1]", "[0,4,8]")), 8, "has no data_offsets"},
      {"offset below 0", one(tensor("[1]", "[-4,0]")), 4, "has no data_offsets"},
      {"offset with a fraction", one(tensor("[1]", "[0,4.0]")), 4, "has no data_offsets"},
      {"offset of 2^64", one(tensor("[1]", "[0,18446744073709551616]")), 4, "has no data_offsets"},
      {"backwards", one(tensor("[1]", "[4,0]")), 4, "ends before it begins"},
      {"outside", one(tensor("[2]", "[0,8]")), 4, "ends at byte 8 of 4 data bytes"},
      {"far outside", one(tensor("[1]", "[18446744073709551611,18446744073709551615]")), 4, "is the file cut off?"},
      {"too few bytes", one(tensor("[2]", "[0,4]")), 4, "takes 8 bytes, but its data_offsets span 4"},
      {"too many bytes", one(tensor("[1]", "[0,8]")), 8, "takes 4 bytes, but its data_offsets span 8"},
      {"overlap", R"({"a":)" + good + R"(,"b":)" + good + "}", 4, "but another tensor ends only at 4"},
      {"half an overlap", R"({"a":)" + tensor("[2]", "[0,8]") + R"(,"b":)" + tensor("[2]", "[4,12]") + "}", 12,
       R"(tensor "b" begins at data byte 4)"},
      {"an empty tensor within another",
       R"({"a":)" + tensor("[2]", "[0,8]") + R"(,"b":)" + tensor("[0]", "[4,4]") + "}", 8,
       R"(tensor "b" begins at data byte 4)"},
      {"a hole before the first", one(tensor("[1]", "[4,8]")), 8, "has a gap before it: data bytes 0 to 4"},
      {"a hole", R"({"a":)" + good + R"(,"b":)" + tensor("[1]", "[8,12]") + "}", 12, "data bytes 4 to 8"},
      {"bytes at the end", one(good), 7, "has 3 bytes after the end of its last tensor"},
      {"bytes and no tensor", "{}", 1, "has 1 bytes after"},
      {"a name with a line's end", R"({"a\nb\u0000":1})", 0, R"(tensor "a\nb\u0000" is not an object)"},
      {"a long name", "{\"" + std::string(100000, 'x') + "\":1}", 0, "x...\" is not an object"},
  };
  const TemporaryFolder folder;
  for (const HeaderCase& hostile : cases) {
    CAPTURE(hostile.name);
    write_raw(folder / "a", hostile.header, std::string(hostile.data_bytes, '\0'));
    const std::string error = refusal(folder / "a");
    CHECK_MESSAGE(error.empty() == (hostile.message[0] == '\0'), error);
    CHECK_MESSAGE(error.find(hostile.message) != std::string::npos, error);
  }
}

TEST_CASE("header lengths that don't fit the file are refused") {
  const TemporaryFolder folder;
  const auto refusal_with = [&](std::uint64_t length, const std::string& header) {
    write_raw(folder / "a", length, header, "");
    return refusal(folder / "a");
  };
  CHECK(refusal_with(2, "{}") == "");
  CHECK(refusal_with(3, "{}") == "its header claims 3 bytes, but the file has 10 in all; is it cut off?");
  CHECK(refusal_with(1, "{}").find("is not JSON") != std::string::npos);
  CHECK(refusal_with(100'000'001, "{}").find("at most 100000000 are allowed") != std::string::npos);
  CHECK(refusal_with(~std::uint64_t{0}, "{}").find("at most 100000000 are allowed") != std::string::npos);
  CHECK(refusal_with(~std::uint64_t{0} - 7, "{}").find("at most 100000000 are allowed") != std::string::npos);
}

TEST_CASE("missing, empty and special files are refused") {
  const TemporaryFolder folder;
  CHECK(refusal(folder / "missing") == "can't be opened: No such file or directory");
  CHECK(refusal(folder / "") == "is not a regular file");
  std::ofstream(folder / "empty");
  CHECK(refusal(folder / "empty") == "the file has 0 bytes and is too short for a safetensors file");
  std::ofstream(folder / "short") << "1234567";
  CHECK(refusal(folder / "short") == "the file has 7 bytes and is too short for a safetensors file");
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK(refusal(folder / "fifo") == "is not a regular file");
}

TEST_CASE("a truncated file is refused") {
  const TemporaryFolder folder;
  write_raw(folder / "a", one(tensor("[2]", "[0,8]")), std::string(8, 'x'));
  REQUIRE(refusal(folder / "a").empty());
  const auto size = std::filesystem::file_size(folder / "a");
  for (std::uintmax_t left = 0; left < size; ++left) {
    std::filesystem::resize_file(folder / "a", size - left - 1);
    CHECK_FALSE(refusal(folder / "a").empty());
  }
}

TEST_CASE("a file that shrinks after it was opened is an error") {
  const TemporaryFolder folder;
  write_raw(folder / "a", one(tensor("[2]", "[0,8]")), std::string(8, 'x'));
  const SafetensorsReader reader(folder / "a");
  std::filesystem::resize_file(folder / "a", std::filesystem::file_size(folder / "a") - 1);
  CHECK_THROWS_AS(reader.read_f32(reader.tensors().at(0)), Error);
}
