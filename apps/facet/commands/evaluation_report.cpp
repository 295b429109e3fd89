#include "commands/evaluation_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "cli/terminal.h"

namespace facet::app {
namespace {

constexpr std::size_t max_confusion_shown = 24;  ///< classes

/// The metrics of a class; nothing for a metric whose denominator is 0.
struct ClassShares {
  std::optional<double> precision, recall, f1;
};

ClassShares shares_of(const ClassResult& one) {
  ClassShares shares;
  if (one.predicted > 0) shares.precision = one.precision;
  if (one.support > 0) shares.recall = one.recall;
  if (one.predicted + one.support > 0) shares.f1 = one.f1;
  return shares;
}

std::string percent_or_dash(const std::optional<double>& share) { return share ? percent(*share) : "-"; }

nlohmann::ordered_json number_or_null(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

bool is_ordinal(const HeadResult& result) { return !std::isnan(result.within_one); }

std::string head_table(const std::vector<HeadResult>& results) {
  const bool any_ordinal = std::ranges::any_of(results, is_ordinal);
  std::vector<Table::Column> columns{{"head"}, {"accuracy", true}, {"loss", true}, {"images", true}, {"classes", true}};
  if (any_ordinal) columns.insert(columns.end(), {{"within one class", true}, {"MAE", true}});
  Table table(std::move(columns));
  for (const HeadResult& result : results) {
    std::vector<std::string> cells{result.head, percent(result.accuracy), fmt::format("{:.4f}", result.loss),
                                   grouped(result.labelled), std::to_string(result.classes.size())};
    if (is_ordinal(result)) {
      cells.insert(cells.end(), {percent(result.within_one), fmt::format("{:.3f}", result.mean_absolute_error)});
    } else if (any_ordinal) {
      cells.insert(cells.end(), {"-", "-"});
    }
    table.add(std::move(cells));
  }
  return table.text();
}

std::string class_table(const HeadResult& result) {
  Table table({{result.head}, {"precision", true}, {"recall", true}, {"F1", true}, {"support", true}});
  const std::vector<ClassResult> classes = per_class(result);
  for (std::size_t i = 0; i < std::min(classes.size(), max_classes_shown); ++i) {
    const ClassShares shares = shares_of(classes[i]);
    table.add({result.classes[i], percent_or_dash(shares.precision), percent_or_dash(shares.recall),
               percent_or_dash(shares.f1), grouped(classes[i].support)});
  }
  return table.text() + more_classes(classes.size());
}

std::string confusion_table(const HeadResult& result) {
  std::vector<Table::Column> columns{{"label \\ prediction"}};
  for (const std::string& name : result.classes) columns.push_back({name, true});
  Table table(std::move(columns));
  for (std::size_t label = 0; label < result.classes.size(); ++label) {
    std::vector<std::string> cells{result.classes[label]};
    for (const std::int64_t count : result.confusion[label]) cells.push_back(count == 0 ? "." : grouped(count));
    table.add(std::move(cells));
  }
  return table.text();
}

}  // namespace

std::string evaluation_tables(const std::vector<HeadResult>& results) {
  if (results.empty()) return "no images have labels\n";
  std::string text = head_table(results);
  for (const HeadResult& result : results) {
    text += '\n' + class_table(result);
    if (result.classes.size() <= max_confusion_shown) {
      text += '\n' + confusion_table(result);
    } else {
      text += fmt::format("\nThe confusion matrix of {} classes is in the JSON (--json).\n", result.classes.size());
    }
  }
  return text;
}

std::string evaluation_json(const std::string& model, const std::string& data, std::int64_t images,
                            TestTimeAugmentation tta, const std::vector<HeadResult>& results) {
  nlohmann::ordered_json json;
  json["model"] = model;
  json["data"] = data;
  json["images"] = images;
  json["tta"] = to_string(tta);
  json["heads"] = nlohmann::ordered_json::object();
  for (const HeadResult& result : results) {
    nlohmann::ordered_json& head = json["heads"][result.head];
    head["accuracy"] = result.accuracy;
    if (is_ordinal(result)) {
      head["within_one"] = result.within_one;
      head["mean_absolute_error"] = result.mean_absolute_error;
    }
    head["loss"] = result.loss;
    head["labelled"] = result.labelled;
    head["classes"] = result.classes;
    if (result.classes.size() <= max_dense_classes) {
      head["confusion"] = result.confusion;
    } else {
      nlohmann::ordered_json& cells = head["confusion_cells"] = nlohmann::ordered_json::array();
      for (const ConfusionCell& cell : result.confusion_cells) {
        cells.push_back(nlohmann::ordered_json::array({cell.label, cell.predicted, cell.images}));
      }
    }
    for (const ClassResult& one : per_class(result)) {
      const ClassShares shares = shares_of(one);
      head["per_class"].push_back({{"support", one.support},
                                   {"precision", number_or_null(shares.precision)},
                                   {"recall", number_or_null(shares.recall)},
                                   {"f1", number_or_null(shares.f1)}});
    }
  }
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

}  // namespace facet::app
