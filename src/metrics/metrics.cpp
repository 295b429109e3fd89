#include "facet/metrics.h"

#include <fmt/format.h>

#include <utility>

#include "facet/error.h"

namespace facet {
namespace {

double ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

}  // namespace

HeadMeter::HeadMeter(Head head) : head_(std::move(head)) {
  const std::size_t classes = head_.classes.size();
  confusion_.assign(classes, std::vector<std::int64_t>(classes, 0));
}

void HeadMeter::add(std::span<const std::int32_t> labels, std::span<const std::int32_t> predicted, double loss) {
  if (labels.size() != predicted.size()) {
    throw Error(fmt::format("head {}: {} labels and {} predictions", head_.name, labels.size(), predicted.size()));
  }
  const auto classes = static_cast<std::int32_t>(head_.classes.size());
  const auto check = [&](std::int32_t value, const char* what) {
    if (value >= 0 && value < classes) return;
    throw Error(fmt::format("head {}: a {} of {}; 0 to {} is allowed", head_.name, what, value, classes - 1));
  };
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] == no_label) continue;
    check(labels[i], "label");
    check(predicted[i], "prediction");
    ++confusion_[static_cast<std::size_t>(labels[i])][static_cast<std::size_t>(predicted[i])];
  }
  loss_ += loss;
}

HeadResult HeadMeter::result() const {
  HeadResult result{.head = head_.name, .classes = head_.classes, .confusion = confusion_};
  std::int64_t right = 0;
  for (std::size_t label = 0; label < confusion_.size(); ++label) {
    for (const std::int64_t images : confusion_[label]) result.labelled += images;
    right += confusion_[label][label];
  }
  result.loss = ratio(loss_, static_cast<double>(result.labelled));
  result.accuracy = ratio(static_cast<double>(right), static_cast<double>(result.labelled));
  return result;
}

std::vector<ClassResult> per_class(const HeadResult& result) {
  for (const std::vector<std::int64_t>& row : result.confusion) {
    if (row.size() == result.confusion.size()) continue;
    throw Error(fmt::format("head {}: a confusion matrix of {} rows with one of {} columns found; a square one needed",
                            result.head, result.confusion.size(), row.size()));
  }
  std::vector<ClassResult> classes(result.confusion.size());
  for (std::size_t c = 0; c < classes.size(); ++c) {
    std::int64_t predicted = 0;
    for (std::size_t other = 0; other < classes.size(); ++other) {
      classes[c].support += result.confusion[c][other];
      predicted += result.confusion[other][c];
    }
    const auto right = static_cast<double>(result.confusion[c][c]);
    const auto support = static_cast<double>(classes[c].support);
    classes[c].precision = ratio(right, static_cast<double>(predicted));
    classes[c].recall = ratio(right, support);
    classes[c].f1 = ratio(2 * right, support + static_cast<double>(predicted));
  }
  return classes;
}

}  // namespace facet
