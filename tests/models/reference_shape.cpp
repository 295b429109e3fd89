#include <doctest/doctest.h>

#include <string>

#include "facet/error.h"
#include "facet/models.h"

namespace facet::testing {

TEST_CASE("reference shape: the paper's is an empty text, another one is JSON") {
  CHECK(to_string(ReferenceShape{}).empty());
  CHECK(parse_reference_shape("") == ReferenceShape{});
  const ReferenceShape shape{
      .stem = 8, .blocks = {{16, 0}}, .hidden = {{"a \"b\" \u00fc", {.features = 9, .dropout = 0.3F, .alpha = true}}}};
  CHECK(to_string(shape) == R"({"blocks":[{"channels":16,"residual_blocks":0}],)"
                            R"("hidden":{"a \"b\" )"
                            "\u00fc"
                            R"(":{"alpha":true,"dropout":0.3,"features":9}},"stem":8})");
}

TEST_CASE("reference shape: a shape is read back as it was written") {
  for (const ReferenceShape& shape :
       {ReferenceShape{.stem = 32}, ReferenceShape{.blocks = {}}, ReferenceShape{.blocks = {{1, 0}, {65536, 1024}}},
        ReferenceShape{.hidden = {{"race", {}}, {"x,y=z", {.dropout = 0}}}},
        ReferenceShape{.hidden = {{"age", {.features = 3, .dropout = 1.0F / 3}}}}}) {
    CHECK(parse_reference_shape(to_string(shape)) == shape);
  }
  CHECK_THROWS_WITH_AS(to_string(ReferenceShape{.hidden = {{"\xe9", {}}}}), doctest::Contains("UTF-8"), Error);
}

TEST_CASE("reference shape: text of another form is refused, with what is allowed") {
  CHECK_NOTHROW(parse_reference_shape(R"({"blocks":[{"channels":64,"residual_blocks":1}],"hidden":{},"stem":64})"));
  const char* const texts[] = {
      "{",
      "64",
      "[]",
      R"({"blocks":[],"hidden":{}})",
      R"({"blocks":[],"hidden":{},"stem":"64"})",
      R"({"blocks":[],"hidden":{},"stem":64.5})",
      R"({"blocks":[],"hidden":{},"stem":true})",
      R"({"blocks":[],"hidden":{},"stem":64,"tail":1})",
      R"({"blocks":{},"hidden":{},"stem":64})",
      R"({"blocks":[{"channels":64}],"hidden":{},"stem":64})",
      R"({"blocks":[{"channels":64,"residual_blocks":4294967297}],"hidden":{},"stem":64})",
      R"({"blocks":[],"hidden":[],"stem":64})",
      R"({"blocks":[],"hidden":{"age":{"alpha":false,"dropout":0.5}},"stem":64})",
      R"({"blocks":[],"hidden":{"age":{"alpha":0,"dropout":0.5,"features":2}},"stem":64})",
      R"({"blocks":[],"hidden":{"age":{"alpha":false,"dropout":1e60,"features":2}},"stem":64})",
  };
  for (const char* const text : texts) {
    CAPTURE(std::string(text));
    CHECK_THROWS_WITH_AS(parse_reference_shape(text), doctest::Contains("JSON of this form is allowed: {"), Error);
  }
  CHECK_THROWS_WITH_AS(parse_reference_shape("a\n\"b\""), doctest::Contains(R"(shape is "a\n\"b\""; JSON)"), Error);
}

}  // namespace facet::testing
