#include "data/fairface.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/text.h"
#include "facet/error.h"
#include "facet/text.h"

namespace facet::data {
namespace {

/// Whether a label is an age bin that a spreadsheet turned into a date.
bool is_mangled_age(std::string_view label) { return label == "9-Mar" || label == "19-Oct"; }

/// Whether all labels belong to the set, aliases included.
bool all_in_set(const std::vector<std::string>& labels, const std::vector<std::string>& set) {
  return std::all_of(labels.begin(), labels.end(), [&](const std::string& label) {
    return std::find(set.begin(), set.end(), resolve_fairface_alias(label)) != set.end();
  });
}

/// Returns the line of note_on_ages. @param reader what reads the dates as age bins.
std::string note_on_dates(const LabelColumn& column, const std::vector<std::string>& classes, std::string_view reader) {
  std::vector<std::string> readings;
  for (const auto& [label, line, rows] : column.labels()) {
    if (!is_mangled_age(label) || std::find(classes.begin(), classes.end(), label) != classes.end()) continue;
    readings.push_back(fmt::format("{} as {} ({} rows)", label, resolve_fairface_alias(label), rows));
  }
  if (readings.empty()) return {};
  std::sort(readings.begin(), readings.end());
  return fmt::format("{}: column '{}': a spreadsheet turned age bins into dates; {} reads {}", column.csv(),
                     printable(column.name()), reader, fmt::join(readings, ", "));
}

}  // namespace

const std::vector<std::string>& fairface_ages() {
  static const std::vector<std::string> ages{"0-2",   "3-9",   "10-19", "20-29",       "30-39",
                                             "40-49", "50-59", "60-69", "more than 70"};
  return ages;
}

const std::vector<std::string>& fairface_genders() {
  static const std::vector<std::string> genders{"Male", "Female"};
  return genders;
}

const std::vector<std::string>& fairface_races() {
  static const std::vector<std::string> races{"White",           "Black",  "Latino_Hispanic", "East Asian",
                                              "Southeast Asian", "Indian", "Middle Eastern"};
  return races;
}

const std::vector<std::string>* fairface_set_of(std::string_view column) {
  const std::string name = base::lower_case(column);
  if (name == "age") return &fairface_ages();
  if (name == "gender") return &fairface_genders();
  if (name == "race") return &fairface_races();
  return nullptr;
}

const std::vector<std::string>& fairface_extra_columns() {
  static const std::vector<std::string> columns{"service_test"};
  return columns;
}

std::string_view resolve_fairface_alias(std::string_view label) {
  if (label == "70+") return "more than 70";
  if (label == "9-Mar") return "3-9";
  if (label == "19-Oct") return "10-19";
  return label;
}

bool declares_fairface(const std::vector<std::string>& declared) {
  return declared.size() == 1 && base::lower_case(declared[0]) == "fairface";
}

std::vector<std::string> fairface_classes_by_name(const LabelColumn& column) {
  const std::vector<std::string>* set = fairface_set_of(column.name());
  const bool fits = set != nullptr && column.labelled() > 0 && all_in_set(column.texts(), *set);
  return fits ? *set : std::vector<std::string>();
}

std::vector<std::string> fairface_classes(const LabelColumn& column) {
  const std::vector<std::string> labels = column.texts();
  for (const auto* set : {&fairface_ages(), &fairface_genders(), &fairface_races()}) {
    if (!labels.empty() && all_in_set(labels, *set)) return *set;
  }
  const std::string found =
      labels.empty()
          ? "it has no labels"
          : fmt::format("its labels belong to none of FairFace's sets (ages, genders or races): {}", list_of(labels));
  throw Error(fmt::format("{}: column '{}' is declared to have FairFace's classes, but {}", column.csv(),
                          printable(column.name()), found),
              ErrorCode::invalid_data);
}

std::string note_on_ages(const LabelColumn& column, const std::vector<std::string>& classes) {
  return note_on_dates(column, classes, "facet");
}

std::string hint_on_ages(const LabelColumn& column) {
  if (!all_in_set(column.texts(), fairface_ages())) return {};
  return note_on_dates(column, fairface_ages(), fmt::format("--classes {}=fairface", printable(column.name())));
}

}  // namespace facet::data
