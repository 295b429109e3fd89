#include "data/label_column.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/text.h"
#include "data/fairface.h"
#include "data/labels.h"
#include "facet/error.h"

namespace facet::data {
namespace {

using base::printable;

/// Of the class that is the label, else of the one that it stands for.
std::int32_t find_class(const std::vector<std::string>& classes, const std::string& label) {
  auto found = std::find(classes.begin(), classes.end(), label);
  if (found == classes.end()) {
    found = std::find_if(classes.begin(), classes.end(),
                         [&](const std::string& name) { return without_alias(name) == without_alias(label); });
  }
  return found == classes.end() ? no_label : static_cast<std::int32_t>(found - classes.begin());
}

}  // namespace

void LabelColumn::add(const std::string& label, std::int64_t line) {
  if (label.empty()) {
    rows_.push_back(no_label);
    return;
  }
  const auto [entry, is_new] = numbers_.try_emplace(label, static_cast<std::int32_t>(labels_.size()));
  if (is_new) labels_.push_back({label, line, 0});
  ++labels_[static_cast<std::size_t>(entry->second)].rows;
  rows_.push_back(entry->second);
}

std::vector<std::string> LabelColumn::own_classes() const {
  std::vector<std::string> classes;
  for (const auto& [text, number] : numbers_) classes.push_back(text);
  if (auto known = fairface_classes(classes)) return *std::move(known);
  if (classes.empty()) throw Error(fmt::format("{}: column '{}' has no label in any row", csv_, printable(name_)));
  if (classes.size() == 1) {
    throw Error(fmt::format("{}: column '{}' has one class only, '{}'; a head needs at least two", csv_,
                            printable(name_), printable(classes[0])));
  }
  return classes;
}

std::vector<std::int32_t> LabelColumn::indices(const std::vector<std::string>& classes) const {
  std::vector<std::int32_t> class_of;
  for (const Label& label : labels_) {
    class_of.push_back(find_class(classes, label.text));
    if (class_of.back() == no_label) {
      throw Error(fmt::format("{}:{}: {} '{}' is none of its classes: {}", csv_, label.first_line, printable(name_),
                              printable(label.text), list_of(classes)));
    }
  }
  std::vector<std::int32_t> indices;
  indices.reserve(rows_.size());
  for (const std::int32_t number : rows_) {
    indices.push_back(number == no_label ? no_label : class_of[static_cast<std::size_t>(number)]);
  }
  return indices;
}

std::string LabelColumn::note_on_ages(const std::vector<std::string>& classes) const {
  std::vector<std::string> readings;
  for (const Label& label : labels_) {
    if (!is_mangled_age(label.text) || std::find(classes.begin(), classes.end(), label.text) != classes.end()) continue;
    readings.push_back(fmt::format("{} as {} ({} rows)", label.text, without_alias(label.text), label.rows));
  }
  if (readings.empty()) return {};
  std::sort(readings.begin(), readings.end());
  return fmt::format("{}: column '{}': a spreadsheet turned age bins into dates; taken {}", csv_, printable(name_),
                     fmt::join(readings, ", "));
}

}  // namespace facet::data
