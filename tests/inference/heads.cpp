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

  std::vector<Head> many = model;
  for (int i = 0; i < 1000; ++i) many[0].classes.push_back(std::to_string(i));
  other = many;
  other[0].classes[900] = "new";
  const std::string error = error_of([&] { inference::require_heads(many, other, "the data set"); });
  CHECK(contains(error, "16, 17 and 982 more; class 900 is new, in the model 898"));
  CHECK(error.size() < 400);
}
