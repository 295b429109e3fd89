#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace facet::data {

/// FairFace's classes (Karkkainen and Joo 2021) in their canonical order.
const std::vector<std::string>& fairface_ages();
const std::vector<std::string>& fairface_genders();
const std::vector<std::string>& fairface_races();

/// What a spreadsheet made of an age bin ("9-Mar", "19-Oct").
bool is_mangled_age(std::string_view label);

/// The class that a label stands for: "more than 70" for "70+", "3-9" for "9-Mar", "10-19" for "19-Oct"; others are as
/// they stand.
std::string_view without_alias(std::string_view label);

/// FairFace's classes for the column of that name, in any case: age, gender or race; null for another name.
const std::vector<std::string>* fairface_set_of(std::string_view column);

/// The set (ages, genders or races) that each of the labels belongs to, aliases included; null when there is none.
const std::vector<std::string>* fairface_set_with(const std::vector<std::string>& labels);

/// Whether each of the labels belongs to the set, aliases included.
bool all_in_set(const std::vector<std::string>& labels, const std::vector<std::string>& set);

}  // namespace facet::data
