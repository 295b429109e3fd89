#include "data/fairface.h"

#include <algorithm>

#include "base/text.h"

namespace facet::data {

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

bool is_mangled_age(std::string_view label) { return label == "9-Mar" || label == "19-Oct"; }

std::string_view without_alias(std::string_view label) {
  if (label == "70+") return "more than 70";
  if (label == "9-Mar") return "3-9";
  if (label == "19-Oct") return "10-19";
  return label;
}

const std::vector<std::string>* fairface_set_of(std::string_view column) {
  const std::string name = base::lower_case(column);
  if (name == "age") return &fairface_ages();
  if (name == "gender") return &fairface_genders();
  if (name == "race") return &fairface_races();
  return nullptr;
}

const std::vector<std::string>* fairface_set_with(const std::vector<std::string>& labels) {
  for (const auto* set : {&fairface_ages(), &fairface_genders(), &fairface_races()}) {
    if (!labels.empty() && all_in_set(labels, *set)) return set;
  }
  return nullptr;
}

bool all_in_set(const std::vector<std::string>& labels, const std::vector<std::string>& set) {
  return std::all_of(labels.begin(), labels.end(), [&](const std::string& label) {
    return std::find(set.begin(), set.end(), without_alias(label)) != set.end();
  });
}

}  // namespace facet::data
