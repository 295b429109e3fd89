#include "evaluation_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "columns.h"
#include "facet/data.h"
#include "figures.h"

namespace facet::app {
namespace {

constexpr std::size_t most_classes_shown = 24;

std::string head_table(const std::vector<HeadResult>& results) {
  Table table({{"head"}, {"accuracy", true}, {"loss", true}, {"images", true}, {"classes", true}});
  for (const HeadResult& result : results) {
    table.add({result.head, percent(result.accuracy), fmt::format("{:.4f}", result.loss), grouped(result.labelled),
               std::to_string(result.classes.size())});
  }
  return table.text();
}

std::string class_table(const HeadResult& result) {
  Table table({{result.head}, {"precision", true}, {"recall", true}, {"F1", true}, {"support", true}});
  const std::vector<ClassResult> classes = per_class(result);
  for (std::size_t i = 0; i < classes.size(); ++i) {
    table.add({result.classes[i], percent(classes[i].precision), percent(classes[i].recall), percent(classes[i].f1),
               grouped(classes[i].support)});
  }
  return table.text();
}

std::string confusion_table(const HeadResult& result) {
  std::vector<Table::Column> columns{{"label \\ answer"}};
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
  std::string text = head_table(results);
  for (const HeadResult& result : results) {
    text += '\n' + class_table(result);
    if (result.classes.size() <= most_classes_shown) {
      text += '\n' + confusion_table(result);
    } else {
      text += fmt::format("\nThe confusion matrix of {} classes is in the JSON (--json).\n", result.classes.size());
    }
  }
  return text;
}

std::string evaluation_json(const std::string& model, const std::string& data, std::int64_t images,
                            const std::vector<HeadResult>& results) {
  nlohmann::ordered_json json;
  json["model"] = model;
  json["data"] = data;
  json["images"] = images;
  for (const HeadResult& result : results) {
    nlohmann::ordered_json& head = json["heads"][result.head];
    head["accuracy"] = result.accuracy;
    head["loss"] = result.loss;
    head["labelled"] = result.labelled;
    head["classes"] = result.classes;
    head["confusion"] = result.confusion;
    for (const ClassResult& one : per_class(result)) {
      head["per_class"].push_back(
          {{"support", one.support}, {"precision", one.precision}, {"recall", one.recall}, {"f1", one.f1}});
    }
  }
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

}  // namespace facet::app
