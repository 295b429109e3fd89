#include "data/labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/text.h"
#include "facet/error.h"
#include "facet/text.h"

namespace facet {
namespace data {
namespace {

/// @param what what messages call the thing that is named: "head".
void require_names(const std::string& where, std::string_view what, const std::vector<std::string>& names) {
  std::set<std::string_view> seen;
  for (const std::string& name : names) {
    if (name.empty()) throw Error(fmt::format("{}: a {} has no name", where, what));
    if (!base::is_utf8(name)) throw Error(fmt::format("{}: the {} '{}' is not UTF-8", where, what, printable(name)));
    if (!seen.insert(name).second) {
      throw Error(fmt::format("{}: the {} '{}' occurs twice", where, what, printable(name)));
    }
  }
}

}  // namespace
}  // namespace data

std::vector<std::string> names_of(const std::vector<Head>& heads) {
  std::vector<std::string> names;
  for (const Head& head : heads) names.push_back(head.name);
  return names;
}

void require_named_heads(const std::string& where, const std::vector<Head>& heads) {
  data::require_names(where, "head", names_of(heads));
  for (const Head& head : heads) {
    if (head.classes.empty()) throw Error(fmt::format("{}: head '{}' has no classes", where, printable(head.name)));
    data::require_names(fmt::format("{}: head '{}'", where, printable(head.name)), "class", head.classes);
  }
}

namespace data {

std::size_t find_head(const std::vector<Head>& heads, std::string_view name, std::string_view what) {
  const auto found = std::ranges::find(heads, name, &Head::name);
  if (found != heads.end()) return static_cast<std::size_t>(found - heads.begin());
  throw Error(fmt::format("{}: the data set has no head {}; its heads are {}", what, printable(std::string(name)),
                          list_of(names_of(heads))));
}

void require_index(const std::string& set, std::int64_t index, std::int64_t size) {
  if (index >= 0 && index < size) return;
  throw Error(size == 0 ? fmt::format("{}: image {} is requested; the data set is empty", set, index)
                        : fmt::format("{}: image {} is requested; 0 to {} are allowed", set, index, size - 1));
}

void require_labels(const std::string& image, std::span<const std::int32_t> labels, const std::vector<Head>& heads) {
  if (labels.size() != heads.size()) {
    throw Error(fmt::format("{}: the image has {} labels; one for each of {} heads is needed", printable(image),
                            labels.size(), heads.size()),
                ErrorCode::invalid_data);
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto classes = static_cast<std::int32_t>(heads[i].classes.size());
    if (labels[i] != no_label && (labels[i] < 0 || labels[i] >= classes)) {
      throw Error(fmt::format("{}: the label of head '{}' is {}; 0 to {} are allowed, and {} for no label",
                              printable(image), printable(heads[i].name), labels[i], classes - 1, no_label),
                  ErrorCode::invalid_data);
    }
  }
}

void require_heads(const std::vector<Head>& expected, const std::vector<Head>& found, std::string_view whose) {
  const std::vector<std::string> expected_names = names_of(expected), found_names = names_of(found);
  if (expected_names != found_names) {
    throw Error(
        fmt::format("{} has the heads {}, the model has {}", whose, list_of(found_names), list_of(expected_names)));
  }
  for (std::size_t head = 0; head < expected.size(); ++head) {
    const std::vector<std::string>&model = expected[head].classes, &other = found[head].classes;
    if (model == other) continue;
    constexpr std::size_t max_listed = 20;
    std::size_t same = 0;  // list_of may omit the place where they differ
    while (same < std::min(model.size(), other.size()) && model[same] == other[same]) ++same;
    const auto name = [&](const std::vector<std::string>& classes) {
      return same < classes.size() ? printable(classes[same]) : "none";
    };
    const std::string place =
        same < max_listed ? "" : fmt::format("; class {} is {}, in the model {}", same, name(other), name(model));
    throw Error(fmt::format("{}: head {} has the classes {}, in the model it has {}{}", whose, found[head].name,
                            list_of(other, max_listed), list_of(model, max_listed), place));
  }
}

namespace {

/// Returns a whole number ("-7", "007") without the zeros after the decimal point that a data frame with missing values
/// writes; nullopt if the text isn't such a number.
std::optional<std::string_view> whole_part(std::string_view text) {
  const std::size_t sign = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  const std::size_t point = std::min(text.find('.'), text.size());
  const std::string_view digits = text.substr(sign, point - sign), fraction = text.substr(point);
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  if (fraction == "." || fraction.find_first_not_of('0', 1) != std::string_view::npos) return std::nullopt;
  return text.substr(0, point);
}

/// Finds classes by name and, if no class has the label's name, by what the label stands for: "3" for "3.0", and the
/// class of an alias.
class ClassIndex {
 public:
  ClassIndex(const std::vector<std::string>& classes, AliasFunction alias) : alias_(alias) {
    for (std::size_t i = 0; i < classes.size(); ++i) {
      const auto index = static_cast<std::int32_t>(i);
      by_name_.emplace(classes[i], index);
      by_meaning_.emplace(meaning_of(classes[i]), index);  // keeps the first class of that meaning
    }
  }

  std::int32_t find(std::string_view label) const {
    if (const auto found = by_name_.find(label); found != by_name_.end()) return found->second;
    const auto found = by_meaning_.find(meaning_of(label));
    return found == by_meaning_.end() ? no_label : found->second;
  }

 private:
  std::string_view meaning_of(std::string_view label) const {
    if (const std::optional<std::string_view> whole = whole_part(label)) return *whole;
    return alias_ != nullptr ? alias_(label) : label;
  }

  AliasFunction alias_;
  std::unordered_map<std::string_view, std::int32_t> by_name_, by_meaning_;
};

/// A whole number of any length.
struct WholeNumber {
  bool negative = false;
  std::string_view digits = {};  ///< without leading zeros; empty for 0
};

std::optional<WholeNumber> whole_number(std::string_view text) {
  const std::optional<std::string_view> whole = whole_part(text);
  if (!whole) return std::nullopt;
  WholeNumber number{.digits = whole->substr(std::min(whole->find_first_not_of("+-0"), whole->size()))};
  number.negative = whole->starts_with('-') && !number.digits.empty();
  return number;
}

bool is_less(const WholeNumber& a, const WholeNumber& b) {
  if (a.negative != b.negative) return a.negative;
  const WholeNumber& small = a.negative ? b : a;
  const WholeNumber& large = a.negative ? a : b;
  if (small.digits.size() != large.digits.size()) return small.digits.size() < large.digits.size();
  return small.digits < large.digits;
}

/// Sorts labels that are all whole numbers; returns false and leaves them as they are if one isn't.
bool sort_as_numbers(std::vector<std::string>& labels) {
  struct Entry {
    WholeNumber number;
    const std::string* label;
  };
  std::vector<Entry> entries;
  for (const std::string& label : labels) {
    const std::optional<WholeNumber> number = whole_number(label);
    if (!number) return false;
    entries.push_back({*number, &label});
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    if (is_less(a.number, b.number)) return true;
    return !is_less(b.number, a.number) && *a.label < *b.label;
  });
  std::vector<std::string> sorted;
  for (const Entry& entry : entries) sorted.push_back(*entry.label);
  labels = std::move(sorted);
  return true;
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
  ++labelled_;
  rows_.push_back(entry->second);
}

bool LabelColumn::is_identifier() const {
  constexpr std::int64_t min_distinct = 51;
  constexpr std::int64_t min_images = 2;  // per class, on average
  return distinct() >= min_distinct && labelled_ < min_images * distinct();
}

std::vector<std::string> LabelColumn::texts() const {
  std::vector<std::string> texts;
  for (const Label& label : labels_) texts.push_back(label.text);
  return texts;
}

std::vector<std::string> LabelColumn::classes_from_labels() const {
  std::vector<std::string> classes = texts();
  if (classes.empty())
    throw Error(fmt::format("{}: column '{}' has no label in any row", csv_, printable(name_)),
                ErrorCode::invalid_data);
  if (classes.size() == 1) {
    throw Error(fmt::format("{}: column '{}' has only one class, '{}'; a head needs at least two", csv_,
                            printable(name_), printable(classes[0])),
                ErrorCode::invalid_data);
  }
  if (!sort_as_numbers(classes)) std::sort(classes.begin(), classes.end());
  return classes;
}

std::vector<std::int32_t> LabelColumn::indices(const std::vector<std::string>& classes, AliasFunction alias) const {
  const ClassIndex index(classes, alias);
  std::vector<std::int32_t> class_of;
  for (const Label& label : labels_) {
    class_of.push_back(index.find(label.text));
    if (class_of.back() == no_label) {
      throw Error(fmt::format("{}:{}: label '{}' of column '{}' is none of its classes: {}", csv_, label.first_line,
                              printable(label.text), printable(name_), list_of(classes)),
                  ErrorCode::invalid_data);
    }
  }
  std::vector<std::int32_t> indices;
  indices.reserve(rows_.size());
  for (const std::int32_t number : rows_) {
    indices.push_back(number == no_label ? no_label : class_of[static_cast<std::size_t>(number)]);
  }
  return indices;
}

}  // namespace data
}  // namespace facet
