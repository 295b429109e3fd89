#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/labels.h"

/// The conventions of FairFace's label files (Karkkainen and Joo 2021), which manifests of other data sets use too.
namespace facet::data {

/// FairFace's classes in their canonical order.
const std::vector<std::string>& fairface_ages();
const std::vector<std::string>& fairface_genders();
const std::vector<std::string>& fairface_races();

/// Returns FairFace's classes for a column called age, gender or race, in any case; null for another name.
const std::vector<std::string>* fairface_set_of(std::string_view column);

/// The columns of FairFace's label files that are heads only if they are requested.
const std::vector<std::string>& fairface_extra_columns();

/// Returns the class that a label stands for: "more than 70" for "70+", and "3-9" and "10-19" for the dates into which
/// spreadsheets turn them, "9-Mar" and "19-Oct"; other labels are returned unchanged.
std::string_view resolve_fairface_alias(std::string_view label);

/// Whether the declared classes are {"fairface"} (in any case), which stands for FairFace's set.
bool declares_fairface(const std::vector<std::string>& declared);

/// Returns FairFace's set for the column's name if all labels belong to it; otherwise an empty list.
std::vector<std::string> fairface_classes_by_name(const LabelColumn& column);

/// Returns FairFace's set that contains all labels, for any column name. @throws Error when there is none.
std::vector<std::string> fairface_classes(const LabelColumn& column);

/// Returns a line for the user about the column's age bins that a spreadsheet turned into dates, unless `classes` has
/// classes of those names; empty if there are none.
std::string note_on_ages(const LabelColumn& column, const std::vector<std::string>& classes);

/// Returns a line that suggests FairFace's classes for a column that gets its classes from its labels, if these are all
/// FairFace's ages and a spreadsheet turned some of them into dates; otherwise empty.
std::string hint_on_ages(const LabelColumn& column);

}  // namespace facet::data
