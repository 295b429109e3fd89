#include "facet/tensor_types.h"

#include <doctest/doctest.h>

TEST_CASE("shapes: count and words") {
  CHECK(facet::element_count({}) == 1);
  CHECK(facet::element_count({64, 3, 7, 7}) == 9408);
  CHECK(facet::element_count({70000, 70000}) == 4900000000);
  CHECK(facet::element_count({3, 0, 2}) == 0);
  CHECK(facet::to_string(facet::Shape{}) == "scalar");
  CHECK(facet::to_string(facet::Shape{9}) == "9");
  CHECK(facet::to_string(facet::Shape{64, 3, 7, 7}) == "64x3x7x7");
}

TEST_CASE("types: words") {
  CHECK(facet::to_string(facet::Precision::f32) == "f32");
  CHECK(facet::to_string(facet::Precision::bf16) == "bf16");
}
