#include "data/fairface.h"

#include <algorithm>

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

std::optional<std::vector<std::string>> fairface_classes(const std::vector<std::string>& labels) {
  if (labels.empty()) return std::nullopt;
  for (const auto* set : {&fairface_ages(), &fairface_genders(), &fairface_races()}) {
    const auto known = [set](const std::string& label) {
      return std::find(set->begin(), set->end(), without_alias(label)) != set->end();
    };
    if (std::all_of(labels.begin(), labels.end(), known)) return *set;
  }
  return std::nullopt;
}

}  // namespace facet::data
