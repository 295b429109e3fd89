#include "data/fairface.h"

#include <doctest/doctest.h>

#include "testing.h"

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

}  // namespace

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
