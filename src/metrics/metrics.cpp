#include "facet/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "facet/error.h"

namespace facet {
namespace {

double ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

}  // namespace

HeadMeter::HeadMeter(Head head, LossKind kind) : head_(std::move(head)), kind_(kind) {}

void HeadMeter::add(std::span<const std::int32_t> labels, std::span<const std::int32_t> predicted, double loss) {
  if (!predicts_class(kind_)) {
    throw Error(fmt::format("head {}: its numbers of labelled and correct targets are needed", head_.name));
  }
  if (labels.size() != predicted.size()) {
    throw Error(fmt::format("head {}: there are {} labels and {} predictions; their numbers must be equal", head_.name,
                            labels.size(), predicted.size()));
  }
  const auto classes = static_cast<std::int32_t>(head_.classes.size());
  const auto check = [&](std::int32_t value, const char* what) {
    if (value >= 0 && value < classes) return;
    throw Error(fmt::format("head {}: a {} is {}; 0 to {} is allowed", head_.name, what, value, classes - 1));
  };
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] == no_label) continue;
    check(labels[i], "label");
    check(predicted[i], "prediction");
    ++counts_[static_cast<std::uint64_t>(labels[i]) * head_.classes.size() + static_cast<std::uint64_t>(predicted[i])];
  }
  loss_ += loss;
}

void HeadMeter::add(std::int64_t labelled, std::int64_t correct, double loss) {
  if (predicts_class(kind_)) {
    throw Error(fmt::format("head {}: its labels and predictions are needed", head_.name));
  }
  labelled_ += labelled;
  correct_ += correct;
  loss_ += loss;
}

std::string HeadMeter::serialize() const {
  std::string bytes;
  const auto write = [&](auto value) { bytes.append(reinterpret_cast<const char*>(&value), sizeof(value)); };
  write(loss_);
  write(labelled_);
  write(correct_);
  for (const auto& [pair, images] : counts_) {
    write(pair);
    write(images);
  }
  return bytes;
}

void HeadMeter::merge(std::string_view serialized) {
  const auto read = [&](auto& value) {
    if (serialized.size() < sizeof(value)) throw Error(fmt::format("head {}: its counts are cut off", head_.name));
    std::memcpy(&value, serialized.data(), sizeof(value));
    serialized.remove_prefix(sizeof(value));
  };
  double loss = 0;
  std::int64_t labelled = 0, correct = 0;
  read(loss);
  read(labelled);
  read(correct);
  loss_ += loss;
  labelled_ += labelled;
  correct_ += correct;
  while (!serialized.empty()) {
    std::uint64_t pair = 0;
    std::int64_t images = 0;
    read(pair);
    read(images);
    if (pair >= head_.classes.size() * head_.classes.size()) {
      throw Error(fmt::format("head {}: its counts name a class that it doesn't have", head_.name));
    }
    counts_[pair] += images;
  }
}

HeadResult HeadMeter::result() const {
  const std::size_t classes = head_.classes.size();
  HeadResult result{.head = head_.name, .classes = head_.classes};
  if (!predicts_class(kind_)) {
    const auto whole = static_cast<double>(labelled_);
    result.labelled = labelled_;
    result.loss = ratio(loss_, whole);
    result.accuracy =
        has_accuracy(kind_) ? ratio(static_cast<double>(correct_), whole) : std::numeric_limits<double>::quiet_NaN();
    return result;
  }
  const bool dense = classes <= max_dense_classes;
  if (dense) result.confusion.assign(classes, std::vector<std::int64_t>(classes, 0));
  std::int64_t correct = 0, within_one = 0, distances = 0;
  for (const auto& [pair, images] : counts_) {
    const std::size_t label = pair / classes, predicted = pair % classes;
    const std::size_t distance = label > predicted ? label - predicted : predicted - label;
    result.labelled += images;
    if (distance == 0) correct += images;
    if (distance <= 1) within_one += images;
    distances += static_cast<std::int64_t>(distance) * images;
    if (dense) {
      result.confusion[label][predicted] = images;
    } else {
      result.confusion_cells.push_back(
          {static_cast<std::int32_t>(label), static_cast<std::int32_t>(predicted), images});
    }
  }
  std::sort(result.confusion_cells.begin(), result.confusion_cells.end(),
            [](const ConfusionCell& a, const ConfusionCell& b) {
              return std::pair(a.label, a.predicted) < std::pair(b.label, b.predicted);
            });
  const auto labelled = static_cast<double>(result.labelled);
  result.loss = ratio(loss_, labelled);
  result.accuracy = ratio(static_cast<double>(correct), labelled);
  if (kind_ == LossKind::coral) {
    result.within_one = ratio(static_cast<double>(within_one), labelled);
    result.mean_absolute_error = ratio(static_cast<double>(distances), labelled);
  }
  return result;
}

std::vector<ClassResult> per_class(const HeadResult& result) {
  const std::size_t count = result.confusion.empty() ? result.classes.size() : result.confusion.size();
  std::vector<ClassResult> classes(count);
  std::vector<std::int64_t> correct(count);
  const auto add = [&](std::size_t label, std::size_t predicted, std::int64_t images) {
    classes[label].support += images;
    classes[predicted].predicted += images;
    if (label == predicted) correct[label] += images;
  };
  for (std::size_t label = 0; label < result.confusion.size(); ++label) {
    const std::vector<std::int64_t>& row = result.confusion[label];
    if (row.size() != count) {
      throw Error(fmt::format(
          "head {}: the confusion matrix has {} rows, one of them with {} columns; a square matrix is needed",
          result.head, result.confusion.size(), row.size()));
    }
    for (std::size_t predicted = 0; predicted < count; ++predicted) add(label, predicted, row[predicted]);
  }
  for (const ConfusionCell& cell : result.confusion_cells) {
    const auto is_class = [&](std::int32_t index) { return index >= 0 && static_cast<std::size_t>(index) < count; };
    if (!is_class(cell.label) || !is_class(cell.predicted)) {
      throw Error(fmt::format("head {}: a confusion cell has label {} and prediction {}; 0 to {} are allowed",
                              result.head, cell.label, cell.predicted, static_cast<std::int64_t>(count) - 1));
    }
    add(static_cast<std::size_t>(cell.label), static_cast<std::size_t>(cell.predicted), cell.images);
  }
  for (std::size_t c = 0; c < count; ++c) {
    const auto support = static_cast<double>(classes[c].support), predicted = static_cast<double>(classes[c].predicted);
    classes[c].precision = ratio(static_cast<double>(correct[c]), predicted);
    classes[c].recall = ratio(static_cast<double>(correct[c]), support);
    classes[c].f1 = ratio(2 * static_cast<double>(correct[c]), support + predicted);
  }
  return classes;
}

}  // namespace facet
