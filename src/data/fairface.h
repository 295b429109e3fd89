#pragma once

#include <optional>
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

/// FairFace's classes for a column that holds these labels: the set (ages, genders or races) that each of them belongs
/// to, aliases included; nothing when there is none.
std::optional<std::vector<std::string>> fairface_classes(const std::vector<std::string>& labels);

}  // namespace facet::data
