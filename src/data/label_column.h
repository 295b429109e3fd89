#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "facet/data.h"

namespace facet::data {

/// The labels of one column of a manifest, before it is known which classes they are.
class LabelColumn {
 public:
  /// @param csv what messages call the file.
  LabelColumn(std::string csv, std::string name) : csv_(std::move(csv)), name_(std::move(name)) {}

  const std::string& name() const { return name_; }
  /// Adds a row's label; an empty one is none.
  void add(const std::string& label, std::int64_t line);

  std::int64_t labelled() const { return labelled_; }
  std::int64_t different() const { return static_cast<std::int64_t>(labels_.size()); }
  /// Whether the labels number or name images rather than classes: there are more than 50 different ones, on average of
  /// fewer than two images each.
  bool is_identifier() const;

  /// FairFace's set of the column's name, where all labels belong to it; else empty.
  std::vector<std::string> fairface_classes_by_name() const;
  /// FairFace's set that all labels belong to, whatever the column's name. @throws Error when there is none.
  std::vector<std::string> fairface_classes() const;
  /// The labels, sorted: by number where all are whole numbers ("10" after "2"; "3.0", as a data frame with gaps has
  /// it, is one too), else as text. Numbers that are written in two ways ("7" and "007") are two classes, sorted as
  /// text.
  /// @throws Error when there are fewer than two.
  std::vector<std::string> own_classes() const;
  /// Each row's index into `classes`, or no_label; aliases count as the class that they stand for.
  /// @throws Error naming file, line, label and classes when a label is none of them.
  std::vector<std::int32_t> indices(const std::vector<std::string>& classes) const;
  /// A line on age bins that a spreadsheet mangled, when `classes` has none of that name; else empty.
  /// @param taken how the line says that they are read as what they were.
  std::string note_on_ages(const std::vector<std::string>& classes, std::string_view taken = "taken") const;
  /// Of a column with own_classes that holds FairFace's ages: a line on those mangled ones that remain; else empty.
  std::string note_on_own_classes() const;

 private:
  struct Label {
    std::string text;
    std::int64_t first_line = 0;
    std::int64_t rows = 0;
  };

  std::vector<std::string> texts() const;

  std::string csv_;
  std::string name_;
  std::vector<Label> labels_;
  std::unordered_map<std::string, std::int32_t> numbers_;  ///< of a label in labels_
  std::vector<std::int32_t> rows_;                         ///< numbers, or no_label
  std::int64_t labelled_ = 0;
};

}  // namespace facet::data
