#include "data/labels.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>

#include "data/fairface.h"
#include "testing.h"

using facet::contains;
using facet::error_of;
using facet::data::fairface_classes;
using facet::data::fairface_classes_by_name;
using facet::data::LabelColumn;

namespace {

using Names = std::vector<std::string>;

LabelColumn column(const std::string& name, const Names& labels) {
  LabelColumn column("m.csv", name);
  std::int64_t line = 2;
  for (const std::string& label : labels) column.add(label, line++);
  return column;
}

Names classes_of(const Names& labels) { return column("x", labels).classes_from_labels(); }

}  // namespace

TEST_CASE("whole numbers are sorted by number, so that a label is its own index") {
  Names labels;
  for (const int number : {10, 3, 0, 11, 7, 2, 9, 1, 8, 4, 6, 5}) labels.push_back(std::to_string(number));
  const LabelColumn numbers = column("x", labels);
  const Names classes = numbers.classes_from_labels();
  REQUIRE(classes.size() == 12);
  const auto indices = numbers.indices(classes);
  for (std::size_t i = 0; i < labels.size(); ++i) CHECK(std::to_string(indices[i]) == labels[i]);
  CHECK(classes_of({"5", "-10", "3", "-9", "+4", "0"}) == Names{"-10", "-9", "0", "3", "+4", "5"});
  CHECK(classes_of({"10.0", "9.0", "0.0"}) == Names{"0.0", "9.0", "10.0"});
  CHECK(classes_of({"100000000000000000000000", "99999999999999999999999", "-100000000000000000000000"}) ==
        Names{"-100000000000000000000000", "99999999999999999999999", "100000000000000000000000"});
}

TEST_CASE("two spellings of a number are two classes") {
  CHECK(classes_of({"7", "10", "007", "8", "-0", "0"}) == Names{"-0", "0", "007", "7", "8", "10"});
  CHECK(classes_of({"001", "010", "002"}) == Names{"001", "002", "010"});
  CHECK(classes_of({"3", "3.0", "12"}) == Names{"3", "3.0", "12"});
}

TEST_CASE("labels are sorted as text if one of them is not a whole number") {
  for (const std::string other : {"a", "1.5", "1e3", "0x1", "-", "+", "1.", ".0", "1 2", "1,0", "--1"}) {
    CAPTURE(other);
    const Names classes = classes_of({"9", "10", other});
    CHECK(std::is_sorted(classes.begin(), classes.end()));
  }
}

TEST_CASE("a whole number is found by another spelling with a fraction of zeros") {
  CHECK(column("x", {"0", "1.0", "-2", ""}).indices({"0.0", "1", "-2.00"}) == std::vector<std::int32_t>{0, 1, 2, -1});
  CHECK(column("x", {"1", "1.0"}).indices({"1", "1.0"}) == std::vector<std::int32_t>{0, 1});
  for (const char* label : {"007", "7.5", "v7.0", "7.", ".0"}) {
    CAPTURE(label);
    CHECK(contains(error_of([&] { column("x", {label}).indices({"7", "8"}); }), "is none of its classes: 7, 8"));
  }
}

TEST_CASE("a label is found by its alias only if no class has its own name") {
  const auto alias = [](std::string_view label) { return label == "cat" ? std::string_view("feline") : label; };
  const LabelColumn animals = column("x", {"cat", "feline", "dog"});
  CHECK(animals.indices({"dog", "feline"}, alias) == std::vector<std::int32_t>{1, 1, 0});
  CHECK(animals.indices({"dog", "cat"}, alias) == std::vector<std::int32_t>{1, 1, 0});
  CHECK(animals.indices({"dog", "cat", "feline"}, alias) == std::vector<std::int32_t>{1, 2, 0});
  CHECK(error_of([&] {
          animals.indices({"dog", "feline"});
        }) == "m.csv:2: label 'cat' of column 'x' is none of its classes: dog, feline");
}

TEST_CASE("a column of identifiers has more than 50 labels with on average fewer than two rows each") {
  const auto numbered = [](int rows, int classes) {
    Names labels;
    for (int i = 0; i < rows; ++i) labels.push_back(std::to_string(i % classes));
    return column("x", labels);
  };
  CHECK(numbered(51, 51).is_identifier());
  CHECK(numbered(101, 51).is_identifier());
  CHECK(numbered(1000, 501).is_identifier());
  CHECK(!numbered(50, 50).is_identifier());
  CHECK(!numbered(102, 51).is_identifier());
  CHECK(!numbered(50'000, 10'000).is_identifier());
  LabelColumn sparse = numbered(60, 60);
  for (int line = 0; line < 1000; ++line) sparse.add("", line);
  CHECK(sparse.is_identifier());
}

TEST_CASE("300,000 classes are found in linear time") {
  Names labels;
  for (int i = 0; i < 300'000; ++i) labels.push_back("person-" + std::to_string(i * 7919LL % 1'000'003));
  const auto begin = std::chrono::steady_clock::now();
  const LabelColumn people = column("x", labels);
  const Names classes = people.classes_from_labels();
  const auto indices = people.indices(classes);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  REQUIRE(classes.size() == 300'000);
  for (const std::size_t i : {std::size_t{0}, std::size_t{1234}, std::size_t{299'999}}) {
    CHECK(classes[static_cast<std::size_t>(indices[i])] == labels[i]);
  }
  CHECK(seconds.count() < 60);  // 0.5 s on an idle machine; a linear search takes minutes
}

using namespace facet;

TEST_CASE("heads must match the model's in names, order and classes") {
  const std::vector<Head> model{{"age", {"young", "old"}}, {"gender", {"Male", "Female"}}};
  data::require_heads(model, model, "the data set");

  const std::vector<Head> swapped{model[1], model[0]};
  CHECK(error_of([&] { data::require_heads(model, swapped, "the data set"); }) ==
        "the data set has the heads gender, age, the model has age, gender");

  std::vector<Head> other = model;
  other[1].classes = {"Female", "Male"};
  CHECK(error_of([&] { data::require_heads(model, other, "the data set"); }) ==
        "the data set: head gender has the classes Female, Male, in the model it has Male, Female");

  std::vector<Head> many = model;
  for (int i = 0; i < 1000; ++i) many[0].classes.push_back(std::to_string(i));
  other = many;
  other[0].classes[900] = "new";
  const std::string error = error_of([&] { data::require_heads(many, other, "the data set"); });
  CHECK(contains(error, "16, 17 and 982 more; class 900 is new, in the model 898"));
  CHECK(error.size() < 400);
}

TEST_CASE("a column gets FairFace's classes if its name and all of its labels are FairFace's") {
  CHECK(fairface_classes_by_name(column("Race", {"White", "Black"})).size() == 7);
  CHECK(fairface_classes_by_name(column("GENDER", {"Male", ""})) == Names{"Male", "Female"});
  CHECK(fairface_classes_by_name(column("age", {"70+", "9-Mar"})).size() == 9);
  CHECK(fairface_classes_by_name(column("colour", {"White", "Black"})).empty());
  CHECK(fairface_classes_by_name(column("age", {"White", "Black"})).empty());
  CHECK(fairface_classes_by_name(column("race", {"White", "Asian"})).empty());
  CHECK(fairface_classes_by_name(column("race", {"", ""})).empty());
}

TEST_CASE("a column of any name can be declared to have FairFace's classes") {
  CHECK(fairface_classes(column("colour", {"White", "Black"})).size() == 7);
  CHECK(
      error_of([] {
        fairface_classes(column("colour", {"White", "Male"}));
      }) ==
      "m.csv: column 'colour' is declared to have FairFace's classes, but its labels belong to none of FairFace's sets "
      "(ages, genders or races): White, Male");
  CHECK(error_of([] {
          fairface_classes(column("colour", {"", ""}));
        }) == "m.csv: column 'colour' is declared to have FairFace's classes, but it has no labels");
}
