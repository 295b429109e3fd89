#include <doctest/doctest.h>

#include <cmath>
#include <limits>

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
    data.load({.size = 6, .resize = mode}, loaded);
    facet::resize(image, 6, mode, expected);
    CHECK(loaded == expected);
  }
}

TEST_CASE("invalid images and labels are refused and leave the data set unchanged") {
  MemoryDataset data({{"a", {"x", "y"}}});
  CHECK(contains(error_of([&] {
                   data.add({.width = 2, .height = 2, .pixels = {1, 2, 3}}, {0});
                 }),
                 "image 0: an image of 2x2 has 3 bytes of pixels"));
  CHECK(contains(error_of([&] { data.add({}, {0}); }), "image 0"));
  CHECK(contains(error_of([&] { data.add(facet::waves(2, 2), {}); }),
                 "the image has 0 labels; one for each of 1 heads is needed"));
  CHECK(
      contains(error_of([&] { data.add(facet::waves(2, 2), {2}); }), "the label of head 'a' is 2; 0 to 1 are allowed"));
  CHECK(contains(error_of([&] { data.add(facet::waves(2, 2), {-2}); }), "the label of head 'a' is -2"));
  CHECK(data.size() == 0);
}

TEST_CASE("images in memory have values as targets where they are given, and NaN elsewhere") {
  MemoryDataset data({{"a", {"x", "y"}}, {"b", {"p", "q", "r"}}});
  const std::vector<std::int32_t> none{facet::no_label, facet::no_label};
  data.add(facet::waves(5, 5), {1, 0});
  CHECK(!data.has_targets(1));
  data.add(facet::waves(5, 5), none, {{}, {0.25F, 0.5F, -1}});
  data.add(facet::waves(5, 5), {0, facet::no_label});
  data.add(facet::waves(5, 5), none, {{}, {1, 2, 3}});
  CHECK(!data.has_targets(0));
  CHECK(data.has_targets(1));
  CHECK(!data.has_targets(2));
  const auto targets = [&](std::int64_t index) {
    std::vector<float> values(3, std::numeric_limits<float>::quiet_NaN());
    data.targets(index, 1, values);
    return values;
  };
  CHECK(targets(1) == std::vector<float>{0.25F, 0.5F, -1});
  CHECK(targets(3) == std::vector<float>{1, 2, 3});
  for (const std::int64_t index : {0, 2}) {
    for (const float value : targets(index)) CHECK(std::isnan(value));
  }
  std::vector<float> two{7, 7};
  data.targets(1, 0, two);
  CHECK(two == std::vector<float>{7, 7});
  CHECK(error_of([&] { data.targets(1, 1, two); }) ==
        "images in memory: room for 2 targets of head 'b' found; 3 are needed");
  CHECK(error_of([&] { data.targets(4, 1, two); }) == "images in memory: image 4 is requested; 0 to 3 are allowed");

  CHECK(error_of([&] {
          data.add(facet::waves(5, 5), none, {{}, {1, 2}});
        }) == "image 4: 2 targets of head 'b' found; 3 are needed, or none");
  CHECK(error_of([&] {
          data.add(facet::waves(5, 5), none, {{1, 2}});
        }) == "image 4: targets of 1 heads found; those of 2 heads are needed, or none");
  CHECK(data.size() == 4);
  CHECK(!data.has_targets(0));
}

TEST_CASE("an index out of range is an error") {
  MemoryDataset data({{"a", {"x", "y"}}});
  facet::Bytes pixels(2 * 2 * 3);
  CHECK(error_of([&] { data.labels(0); }) == "images in memory: image 0 is requested; the data set is empty");
  data.add(facet::waves(2, 2), {0});
  for (const std::int64_t index : {std::int64_t{-1}, std::int64_t{1}, std::int64_t{5}, std::int64_t{1} << 62}) {
    const std::string message =
        "images in memory: image " + std::to_string(index) + " is requested; 0 to 0 are allowed";
    CHECK(error_of([&] { data.labels(index); }) == message);
    CHECK(error_of([&] { data.load({.index = index, .size = 2}, pixels); }) == message);
    CHECK(error_of([&] { data.name(index); }) == message);
  }
  CHECK(error_of([&] { data.load({.size = 2}, pixels); }).empty());
}

TEST_CASE("invalid heads and classes are refused by the constructor") {
  const auto error = [](const std::vector<facet::Head>& heads) { return error_of([&] { MemoryDataset data(heads); }); };
  CHECK(error({{"", {"x", "y"}}}) == "images in memory: a head has no name");
  CHECK(error({{"a", {"x"}}, {"b", {"y"}}, {"a", {"x"}}}) == "images in memory: the head 'a' occurs twice");
  CHECK(error({{"a", {}}}) == "images in memory: head 'a' has no classes");
  CHECK(error({{"a", {"x", ""}}}) == "images in memory: head 'a': a class has no name");
  CHECK(error({{"a", {"x", "y", "x"}}}) == "images in memory: head 'a': the class 'x' occurs twice");
  CHECK(error({{"caf\xE9", {"x"}}}) == "images in memory: the head 'caf\\xE9' is not UTF-8");
  CHECK(error({{"a", {"\n", "\n"}}}) == "images in memory: head 'a': the class '\\n' occurs twice");
  CHECK(error({{"caf\u00e9", {"\u4eba", "x"}}, {"b", {"x"}}}).empty());
}
