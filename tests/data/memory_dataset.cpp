#include <doctest/doctest.h>

#include "data/make_jpeg.h"
#include "facet/data.h"

using facet::error_of;
using facet::contains;
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
  data.load(0, 6, loaded);
  facet::resize(image, 6, expected);
  CHECK(loaded == expected);
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
