#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace facet::data {

/// FairFace's classes (Karkkainen and Joo 2021) in their canonical order.
const std::vector<std::string>& fairface_ages();
const std::vector<std::string>& fairface_genders();
const std::vector<std::string>& fairface_races();

/// Whether a label is an age bin that a spreadsheet turned into a date ("9-Mar", "19-Oct").
bool is_mangled_age(std::string_view label);

/// Returns the class that a label stands for: "more than 70" for "70+", "3-9" for "9-Mar", "10-19" for "19-Oct"; other
/// labels are returned unchanged.
std::string_view without_alias(std::string_view label);

/// Returns FairFace's classes for a column called age, gender or race, in any case; null for another name.
const std::vector<std::string>* fairface_set_of(std::string_view column);

/// Returns the set (ages, genders or races) that contains all labels, aliases included; null when there is none.
const std::vector<std::string>* fairface_set_with(const std::vector<std::string>& labels);

/// Whether all labels belong to the set, aliases included.
bool all_in_set(const std::vector<std::string>& labels, const std::vector<std::string>& set);

}  // namespace facet::data
