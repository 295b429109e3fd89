#include <doctest/doctest.h>

#include <map>

#include "formats/pickles.h"
#include "formats/pytorch_file.h"
#include "testing.h"

using namespace facet;
using namespace facet::formats;
using pickles::bytes_of;
using pickles::dictionary;
using pickles::floats;
using pickles::legacy_file;
using pickles::tensor;
using pickles::whole;

namespace {

using Values = std::vector<float>;

std::map<std::string, Values> read(const std::filesystem::path& file) {
  std::map<std::string, Values> found;
  for (const TensorSource& source : open_pytorch_file(file).tensors) {
    found[source.name] = std::get<Values>(source.values());
  }
  return found;
}

const std::string w = tensor({.shape = {2, 2}, .strides = {1, 2}, .elements = 6, .offset = 1, .storage = "7"});
const std::string v = tensor({.shape = {3}, .strides = {1}, .elements = 3, .storage = "5", .type = "HalfStorage"});
const std::string u = tensor({.shape = {2}, .strides = {3}, .elements = 6, .storage = "7"});
const std::string random_state =
    tensor({.shape = {5}, .strides = {1}, .elements = 5, .storage = "6", .type = "ByteStorage"});
const std::string six = floats({0, 1, 2, 3, 4, 5}), halves{"\x00\x3c\x00\x40\x00\xc4", 6};

}  // namespace

TEST_CASE("storages of a file from before PyTorch 1.6 are read after its pickles, in any order and of any type") {
  const TemporaryFolder folder;
  const std::string checkpoint =
      dictionary({{"random", random_state}, {"state_dict", dictionary({{"w", w}, {"v", v}, {"u", u}})}});
  write_file(folder / "w", legacy_file(checkpoint, {{"5", 3, halves}, {"6", 5, "bytes"}, {"7", 6, six}}));
  CHECK(open_pytorch_file(folder / "w").path == R"(["state_dict"])");
  const std::map<std::string, Values> expected{{"w", {1, 3, 2, 4}}, {"v", {1, 2, -4}}, {"u", {0, 3}}};
  CHECK(read(folder / "w") == expected);
  write_file(folder / "w", legacy_file(checkpoint, {{"7", 6, six}, {"6", 5, "bytes"}, {"5", 3, halves + "more"}}));
  CHECK(read(folder / "w") == expected);
}

TEST_CASE("an incomplete or inconsistent file from before PyTorch 1.6 is refused") {
  const TemporaryFolder folder;
  const std::string object = dictionary({{"w", w}});
  const auto expect_refusal = [&](const std::string& content, const std::string& part) {
    write_file(folder / "w", content);
    const std::string what = error_of([&] { read(folder / "w"); });
    CHECK_MESSAGE(contains(what, part), what);
    CHECK(what.starts_with((folder / "w").string() + ": "));
  };
  expect_refusal(whole("\x8a\x0a" + std::string(10, 'x')), "is a pickle that torch.save didn't write");
  expect_refusal(whole(dictionary({})), "is a pickle that torch.save didn't write");
  std::string other_version = legacy_file(object, {{"7", 6, six}});
  other_version[other_version.find(bytes_of(std::int32_t{1001}))] = 5;
  expect_refusal(other_version, "has version 773 of PyTorch's format; only 1001 is supported");
  expect_refusal(legacy_file(object, {}), R"(tensor "w" is stored in the storage "7", which is missing)");
  expect_refusal(legacy_file(object, {{"8", 6, six}}), R"(its storage "8" isn't described by its pickle)");
  expect_refusal(legacy_file(object, {{"7", 6, six}, {"7", 6, six}}), R"(its storage "7" occurs twice)");
  expect_refusal(legacy_file(object, {{"7", 5, six}}), R"(its storage "7" has 5 elements; its pickle describes 6)");
  expect_refusal(legacy_file(object, {{"7", -1, six}}), "has -1 elements; its pickle describes 6");
  expect_refusal(legacy_file(object, {{"7", 6, six.substr(1)}}), "6 elements of 4 bytes begins at byte");
  const std::string huge =
      dictionary({{"w", tensor({.shape = {1}, .strides = {1}, .elements = INT64_MAX, .storage = "7"})}});
  expect_refusal(legacy_file(huge, {{"7", INT64_MAX, six}}), "is the file cut off?");
  expect_refusal(
      legacy_file(dictionary({{"w", w}, {"x", tensor({.shape = {1}, .strides = {1}, .elements = 3, .storage = "7"})}}),
                  {{"7", 6, six}}),
      R"(its pickle describes the storage "7" in two ways)");
  expect_refusal(
      legacy_file(dictionary({{"state_dict", object},
                              {"x", tensor({.shape = {1}, .strides = {1}, .elements = 1, .type = "NewStorage"})}}),
                  {{"7", 6, six}}),
      R"(its storage "0" has elements of the unknown type "torch.NewStorage")");
}

TEST_CASE("a file from before PyTorch 1.6 that is truncated, or has any bit changed, is read or refused") {
  const TemporaryFolder folder;
  const std::string good = legacy_file(dictionary({{"w", w}, {"v", v}}), {{"5", 3, halves}, {"7", 6, six}});
  write_file(folder / "w", good);
  REQUIRE(read(folder / "w").size() == 2);
  for (std::size_t length = 2; length < good.size(); ++length) {
    write_file(folder / "w", good.substr(0, length));
    CHECK_THROWS_AS(read(folder / "w"), Error);
  }
  for (std::size_t position = 2; position < good.size(); ++position) {
    std::string changed = good;
    changed[position] = static_cast<char>(changed[position] ^ (1 << (position % 8)));
    write_file(folder / "w", changed);
    error_of([&] { read(folder / "w"); });
  }
}
