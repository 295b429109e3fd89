#include <doctest/doctest.h>

#include "data/make_jpeg.h"
#include "facet/dataset.h"
#include "facet/image.h"

using facet::contains;
using facet::error_of;
using facet::MemoryDataset;

TEST_CASE("images in memory keep their labels and are resized when they are loaded") {
  MemoryDataset data({{"a", {"x", "y"}}, {"b", {"p", "q", "r"}}});
  const facet::Image image = facet::waves(12, 8);
  data.add(image, {1, 2});
  data.add(facet::waves(5, 5), {facet::no_label, 0});
  CHECK(data.size() == 2);
  CHECK(data.heads()[1].name == "b");
  CHECK(data.labels(0)[1] == 2);
  CHECK(data.labels(1)[0] == facet::no_label);
  CHECK(data.labels(1).size() == 2);
  CHECK(data.name(1) == "image 1");
  facet::Bytes loaded(6 * 6 * 3);
  facet::Bytes expected(6 * 6 * 3);
  for (const facet::ResizeMode mode : {facet::ResizeMode::squash, facet::ResizeMode::crop}) {
    data.load(0, 6, mode, loaded);
    facet::resize(image, 6, mode, expected);
    CHECK(loaded == expected);
  }
}

TEST_CASE("images and labels that don't fit are refused, and leave the set as it was") {
  MemoryDataset data({{"a", {"x", "y"}}});
  CHECK(contains(error_of([&] { data.add({.width = 2, .height = 2, .pixels = {1, 2, 3}}, {0}); }), "image 0: 3 bytes"));
  CHECK(contains(error_of([&] { data.add({}, {0}); }), "image 0"));
  CHECK(contains(error_of([&] { data.add(facet::waves(2, 2), {}); }), "0 labels for 1 heads"));
  CHECK(contains(error_of([&] { data.add(facet::waves(2, 2), {2}); }), "head 'a': label 2; 0 to 1 are allowed"));
  CHECK(contains(error_of([&] { data.add(facet::waves(2, 2), {-2}); }), "label -2"));
  CHECK(data.size() == 0);
}

TEST_CASE("images that are not there are an error") {
  MemoryDataset data({{"a", {"x", "y"}}});
  facet::Bytes pixels(2 * 2 * 3);
  CHECK(error_of([&] { data.labels(0); }) == "images in memory: image 0; it holds none");
  data.add(facet::waves(2, 2), {0});
  for (const std::int64_t index : {std::int64_t{-1}, std::int64_t{1}, std::int64_t{5}, std::int64_t{1} << 62}) {
    const std::string message = "images in memory: image " + std::to_string(index) + "; 0 to 0 are allowed";
    CHECK(error_of([&] { data.labels(index); }) == message);
    CHECK(error_of([&] { data.load(index, 2, facet::ResizeMode::squash, pixels); }) == message);
    CHECK(error_of([&] { data.name(index); }) == message);
  }
  CHECK(error_of([&] { data.load(0, 2, facet::ResizeMode::squash, pixels); }).empty());
}

TEST_CASE("heads and classes that no model can have are refused at once") {
  const auto error = [](const std::vector<facet::Head>& heads) { return error_of([&] { MemoryDataset data(heads); }); };
  CHECK(error({{"", {"x", "y"}}}) == "images in memory: a head has no name");
  CHECK(error({{"a", {"x"}}, {"b", {"y"}}, {"a", {"x"}}}) == "images in memory: the head 'a' is there twice");
  CHECK(error({{"a", {}}}) == "images in memory: head 'a' has no class");
  CHECK(error({{"a", {"x", ""}}}) == "images in memory: a class of head 'a' has no name");
  CHECK(error({{"a", {"x", "y", "x"}}}) == "images in memory: the class of head 'a' 'x' is there twice");
  CHECK(error({{"caf\xE9", {"x"}}}) == "images in memory: the head 'caf\\xE9' is not UTF-8");
  CHECK(error({{"a", {"\n", "\n"}}}) == "images in memory: the class of head 'a' '\\n' is there twice");
  CHECK(error({{"caf\u00e9", {"\u4eba", "x"}}, {"b", {"x"}}}).empty());
}
