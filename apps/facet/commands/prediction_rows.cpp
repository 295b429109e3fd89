#include "commands/prediction_rows.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "cli/output_file.h"

namespace facet::app {
namespace {

std::string json_line(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

/// An ordinal head has a logit for each class but the last: that of being above it.
std::size_t logit_count(const Head& head) { return head.classes.size() - (head.ordinal ? 1 : 0); }

void add_values(std::vector<std::string>& fields, const std::vector<float>& values, std::size_t count,
                std::size_t row) {
  for (std::size_t i = 0; i < count; ++i) fields.push_back(fmt::format("{}", values[row * count + i]));
}

}  // namespace

Answer answer_of(const Head& head, const HeadPrediction& prediction, std::size_t row) {
  const auto index = static_cast<std::size_t>(prediction.predicted[row]);
  return {head.classes[index], prediction.probabilities[row * head.classes.size() + index]};
}

std::string prediction_header(const std::vector<Head>& heads, Detail detail) {
  std::vector<std::string> fields{"file"};
  for (const Head& head : heads) {
    if (detail == Detail::all) fields.push_back(head.name + "_label");
    fields.push_back(head.name);
    fields.push_back(head.name + "_probability");
  }
  for (const Head& head : heads) {
    for (const std::string& name : head.classes) fields.push_back(head.name + "_probability_" + name);
    if (detail == Detail::answers) continue;
    const std::size_t logits = logit_count(head);
    for (std::size_t i = 0; i < logits; ++i) {
      fields.push_back(head.name + (head.ordinal ? "_logit_above_" : "_logit_") + head.classes[i]);
    }
  }
  return csv_line(fields);
}

std::string prediction_line(const std::vector<Head>& heads, Detail detail, const std::string& file,
                            std::span<const std::int32_t> labels, const std::vector<HeadPrediction>& predictions,
                            std::size_t row) {
  std::vector<std::string> fields{file};
  for (std::size_t i = 0; i < heads.size(); ++i) {
    if (detail == Detail::all) {
      fields.push_back(labels[i] == no_label ? "" : heads[i].classes[static_cast<std::size_t>(labels[i])]);
    }
    const Answer answer = answer_of(heads[i], predictions[i], row);
    fields.push_back(answer.name);
    fields.push_back(fmt::format("{}", answer.probability));
  }
  for (std::size_t i = 0; i < heads.size(); ++i) {
    add_values(fields, predictions[i].probabilities, heads[i].classes.size(), row);
    if (detail == Detail::all) add_values(fields, predictions[i].logits, logit_count(heads[i]), row);
  }
  return csv_line(fields);
}

std::string prediction_json(const std::vector<Head>& heads, const std::string& file,
                            const std::vector<HeadPrediction>& predictions, std::size_t row) {
  nlohmann::ordered_json line;
  line["file"] = file;
  for (std::size_t i = 0; i < heads.size(); ++i) {
    const Answer answer = answer_of(heads[i], predictions[i], row);
    nlohmann::ordered_json& head = line["heads"][heads[i].name];
    head["class"] = answer.name;
    head["probability"] = answer.probability;
    const std::size_t classes = heads[i].classes.size();
    // Append without operator[], which looks each name up and takes quadratic time in the number of classes.
    nlohmann::ordered_json::object_t probabilities;
    probabilities.reserve(classes);
    for (std::size_t c = 0; c < classes; ++c) {
      probabilities.emplace_back(heads[i].classes[c], predictions[i].probabilities[row * classes + c]);
    }
    head["probabilities"] = std::move(probabilities);
  }
  return json_line(line);
}

std::string error_json(const std::string& file, const std::string& error) {
  return json_line({{"file", file}, {"error", error}});
}

}  // namespace facet::app
