#pragma once

#include <cstdint>
#include <map>
#include <string>
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

  /// FairFace's set where all labels belong to it; else the labels, sorted.
  /// @throws Error when these are fewer than two.
  std::vector<std::string> own_classes() const;
  /// Each row's index into `classes`, or no_label; aliases count as the class that they stand for.
  /// @throws Error naming file, line, label and classes when a label is none of them.
  std::vector<std::int32_t> indices(const std::vector<std::string>& classes) const;
  /// A line on age bins that a spreadsheet mangled, when `classes` has none of that name; else empty.
  std::string note_on_ages(const std::vector<std::string>& classes) const;

 private:
  struct Label {
    std::string text;
    std::int64_t first_line = 0;
    std::int64_t rows = 0;
  };

  std::string csv_;
  std::string name_;
  std::vector<Label> labels_;
  std::map<std::string, std::int32_t> numbers_;  ///< of a label in labels_
  std::vector<std::int32_t> rows_;               ///< numbers, or no_label
};

}  // namespace facet::data
