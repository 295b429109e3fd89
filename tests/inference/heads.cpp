#include "inference/heads.h"

#include <doctest/doctest.h>

#include "error_of.h"

using namespace facet;

TEST_CASE("heads must be the model's: names, order, classes") {
  const std::vector<Head> model{{"age", {"young", "old"}}, {"gender", {"Male", "Female"}}};
  inference::require_heads(model, model, "the data set");

  const std::vector<Head> swapped{model[1], model[0]};
  CHECK(error_of([&] { inference::require_heads(model, swapped, "the data set"); }) ==
        "the data set has the heads gender, age, the model has age, gender");

  std::vector<Head> other = model;
  other[1].classes = {"Female", "Male"};
  CHECK(error_of([&] { inference::require_heads(model, other, "the data set"); }) ==
        "the data set: head gender has the classes Female, Male, in the model it has Male, Female");
}
