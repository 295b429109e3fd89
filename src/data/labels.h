#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "facet/dataset.h"

namespace facet::data {

/// @param whose what messages call `found`: "the training set".
/// @throws Error naming the first head, or class of a head, in which `found` differs from `expected`, and both values.
void require_heads(const std::vector<Head>& expected, const std::vector<Head>& found, std::string_view whose);

/// Returns the index of the head of that name.
/// @param what what the message begins with. @throws Error naming the heads when there is none.
std::size_t find_head(const std::vector<Head>& heads, std::string_view name, std::string_view what);

/// @param set what messages call the data set.
/// @throws Error naming the index and the allowed range when `index` is out of range for `size` images.
void require_index(const std::string& set, std::int64_t index, std::int64_t size);

/// @param image what messages call the image.
/// @throws Error naming the image, the head, the label and the allowed values unless there is one label per head, each
///   a class index or no_label.
void require_labels(const std::string& image, std::span<const std::int32_t> labels, const std::vector<Head>& heads);

/// Returns the class that a label stands for, or the label itself; the view is one of the label or of a constant.
using AliasFunction = std::string_view (*)(std::string_view label);

/// The labels of one column of a manifest, before their classes are known.
class LabelColumn {
 public:
  /// A distinct label.
  struct Label {
    std::string text;
    std::int64_t first_line = 0;  ///< the first line of the CSV that has it
    std::int64_t rows = 0;        ///< the number of rows that have it
  };

  /// @param csv what messages call the file.
  LabelColumn(std::string csv, std::string name) : csv_(std::move(csv)), name_(std::move(name)) {}

  const std::string& csv() const { return csv_; }
  const std::string& name() const { return name_; }
  /// Adds the label of a row; an empty string means that the row has none.
  void add(const std::string& label, std::int64_t line);

  /// The distinct labels, in the order of their first rows.
  const std::vector<Label>& labels() const { return labels_; }
  /// Returns the texts of labels().
  std::vector<std::string> texts() const;
  /// The number of rows that have a label.
  std::int64_t labelled() const { return labelled_; }
  /// The number of distinct labels.
  std::int64_t distinct() const { return static_cast<std::int64_t>(labels_.size()); }
  /// Whether the labels identify images rather than classes: there are more than 50 distinct ones, with fewer than two
  /// images each on average.
  bool is_identifier() const;

  /// Returns the distinct labels, sorted: by number if all are whole numbers ("10" after "2"; "3.0", which a data
  /// frame with missing values writes, is one too), otherwise as text. Two spellings of a number ("7" and "007") are
  /// two classes, sorted as text.
  /// @throws Error when there are fewer than two.
  std::vector<std::string> classes_from_labels() const;
  /// Returns each row's index into `classes`, or no_label. A label that no class is called counts as the class of the
  /// same whole number ("3" for "3.0"), or as the class that it is an alias of.
  /// @param alias the aliases of labels and classes; null: there are none.
  /// @throws Error naming file, line, label and classes when a label belongs to none of the classes.
  std::vector<std::int32_t> indices(const std::vector<std::string>& classes, AliasFunction alias = nullptr) const;

 private:
  std::string csv_;
  std::string name_;
  std::vector<Label> labels_;
  std::unordered_map<std::string, std::int32_t> numbers_;  ///< index of each label in labels_
  std::vector<std::int32_t> rows_;                         ///< indices into labels_, or no_label
  std::int64_t labelled_ = 0;
};

}  // namespace facet::data
