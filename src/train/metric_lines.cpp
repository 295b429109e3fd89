#include "train/metric_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

namespace facet::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

/// A value by head; NaN where the result doesn't have it.
double at(const std::vector<double>& values, std::size_t head) { return head < values.size() ? values[head] : unknown; }

double validation_loss(const EpochResult& result, std::size_t head) {
  if (head >= result.validation.size() || result.validation[head].labelled == 0) return unknown;
  return result.validation[head].loss;
}

/// The heads whose classes are ordered.
std::vector<Head> ordinal_of(const std::vector<Head>& heads) {
  std::vector<Head> ordinal;
  std::ranges::copy_if(heads, std::back_inserter(ordinal), &Head::ordinal);
  return ordinal;
}

/// A figure of the validation of the head `name`.
double validation_figure(const EpochResult& result, const std::string& name, double HeadResult::*figure) {
  const auto found = std::ranges::find(result.validation, name, &HeadResult::head);
  return found == result.validation.end() || found->labelled == 0 ? unknown : (*found).*figure;
}

double validation_accuracy(const EpochResult& result, std::size_t head) {
  if (head >= result.validation.size() || result.validation[head].labelled == 0) return unknown;
  return result.validation[head].accuracy;
}

/// The whole number that follows `before` at the beginning of a line and is followed by a comma.
std::optional<std::int64_t> number_after(std::string_view before, const std::string& line) {
  if (!line.starts_with(before)) return std::nullopt;
  std::int64_t number = 0;
  const char* end = line.data() + line.size();
  const auto [stop, error] = std::from_chars(line.data() + before.size(), end, number);
  if (error != std::errc() || stop == end || *stop != ',') return std::nullopt;
  return number;
}

std::optional<std::int64_t> number_of_csv(const std::string& line) { return number_after("", line); }

std::string quoted_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string doubled;
  for (const char character : text) doubled.append(character == '"' ? 2 : 1, character);
  return fmt::format("\"{}\"", doubled);
}

/// The columns of all heads, each after a comma.
std::string columns(const char* what, const std::vector<Head>& heads) {
  std::string text;
  for (const Head& head : heads) text += fmt::format(",{}", quoted_cell(what + head.name));
  return text;
}

std::string cell(double value) { return std::isnan(value) ? "," : fmt::format(",{}", value); }

/// The cells of all heads, each after a comma. @param value returns that of a head, by its index.
template <class Value>
std::string cells(const std::vector<Head>& heads, const Value& value) {
  std::string text;
  for (std::size_t head = 0; head < heads.size(); ++head) text += cell(value(head));
  return text;
}

std::string epoch_header_of_csv(const std::vector<Head>& heads, bool sized) {
  return "epoch,train_loss,validation_loss" + columns("validation_accuracy_", heads) +
         ",learning_rate,images_per_s,seconds,peak_resident_bytes,waited,best" + columns("train_loss_", heads) +
         columns("train_accuracy_", heads) + columns("validation_loss_", heads) + ",communication_waited" +
         columns("validation_within_one_", ordinal_of(heads)) +
         columns("validation_mean_absolute_error_", ordinal_of(heads)) + (sized ? ",size" : "");
}

std::string ordinal_cells(const EpochResult& result, const std::vector<Head>& heads) {
  const std::vector<Head> ordinal = ordinal_of(heads);
  std::string text;
  for (const auto figure : {&HeadResult::within_one, &HeadResult::mean_absolute_error}) {
    text += cells(ordinal, [&](std::size_t head) { return validation_figure(result, ordinal[head].name, figure); });
  }
  return text;
}

std::string epoch_line_of_csv(const EpochResult& result, const std::vector<Head>& heads) {
  return fmt::format("{},{}", result.epoch, result.train_loss) +
         cell(result.validation.empty() ? unknown : result.validation_loss) +
         cells(heads, [&](std::size_t head) { return validation_accuracy(result, head); }) +
         fmt::format(",{},{:.6g},{:.6g},{},{:.4g},{:d}", result.learning_rate, result.images_per_s, result.seconds,
                     result.peak_resident_bytes, result.waited, result.best) +
         cells(heads, [&](std::size_t head) { return at(result.train_head_loss, head); }) +
         cells(heads, [&](std::size_t head) { return at(result.train_accuracy, head); }) +
         cells(heads, [&](std::size_t head) { return validation_loss(result, head); }) +
         fmt::format(",{:.4g}", result.communication_waited) + ordinal_cells(result, heads) +
         (result.size ? "," + to_string(*result.size) : "");
}

std::string step_header_of_csv(const std::vector<Head>& heads) {
  return "step,epoch,batch,loss" + columns("loss_", heads) + columns("accuracy_", heads) +
         ",learning_rate,images_per_s";
}

std::string step_line_of_csv(const StepResult& result, const std::vector<Head>& heads) {
  return fmt::format("{},{},{},{}", result.step, result.epoch, result.batch, result.loss) +
         cells(heads, [&](std::size_t head) { return at(result.head_loss, head); }) +
         cells(heads, [&](std::size_t head) { return at(result.accuracy, head); }) +
         fmt::format(",{},{:.6g}", result.learning_rate, result.images_per_s);
}

std::string with_all_cells(std::string line, const std::vector<Head>& heads) {
  const std::string full = epoch_line_of_csv({}, heads);
  const auto missing = std::count(full.begin(), full.end(), ',') - std::count(line.begin(), line.end(), ',');
  return line.append(static_cast<std::size_t>(std::max<std::ptrdiff_t>(missing, 0)), ',');
}

std::optional<std::int64_t> epoch_of_json(const std::string& line) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("epoch") || !json["epoch"].is_number_integer()) return std::nullopt;
  return json["epoch"].get<std::int64_t>();
}

std::optional<std::int64_t> step_of_json(const std::string& line) { return number_after(R"({"step":)", line); }

/// An object with the value of each head. @param value returns that of a head, by its index.
template <class Value>
Json by_head(const std::vector<Head>& heads, const Value& value) {
  Json object = Json::object();
  for (std::size_t head = 0; head < heads.size(); ++head) {
    const double number = value(head);
    object[heads[head].name] = std::isnan(number) ? Json() : Json(number);
  }
  return object;
}

std::string line_of(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string epoch_line_of_json(const EpochResult& result, const std::vector<Head>& heads) {
  const bool validated = !result.validation.empty();
  Json json{{"epoch", result.epoch}, {"train_loss", result.train_loss}};
  if (validated) {
    json["validation_loss"] = result.validation_loss;
    json["validation_accuracy"] = by_head(heads, [&](std::size_t head) { return validation_accuracy(result, head); });
  }
  json["learning_rate"] = result.learning_rate;
  json["images_per_s"] = result.images_per_s;
  json["seconds"] = result.seconds;
  json["peak_resident_bytes"] = result.peak_resident_bytes;
  json["waited"] = result.waited;
  json["communication_waited"] = result.communication_waited;
  json["best"] = result.best;
  json["train_loss_by_head"] = by_head(heads, [&](std::size_t head) { return at(result.train_head_loss, head); });
  json["train_accuracy"] = by_head(heads, [&](std::size_t head) { return at(result.train_accuracy, head); });
  if (validated) {
    json["validation_loss_by_head"] = by_head(heads, [&](std::size_t head) { return validation_loss(result, head); });
  }
  if (const std::vector<Head> ordinal = ordinal_of(heads); validated && !ordinal.empty()) {
    const auto of_ordinal = [&](double HeadResult::*figure) {
      return by_head(ordinal, [&](std::size_t head) { return validation_figure(result, ordinal[head].name, figure); });
    };
    json["validation_within_one"] = of_ordinal(&HeadResult::within_one);
    json["validation_mean_absolute_error"] = of_ordinal(&HeadResult::mean_absolute_error);
  }
  if (result.size) json["size"] = to_string(*result.size);
  return line_of(json);
}

std::string step_line_of_json(const StepResult& result, const std::vector<Head>& heads) {
  return line_of({{"step", result.step},
                  {"epoch", result.epoch},
                  {"batch", result.batch},
                  {"loss", result.loss},
                  {"loss_by_head", by_head(heads, [&](std::size_t head) { return at(result.head_loss, head); })},
                  {"accuracy", by_head(heads, [&](std::size_t head) { return at(result.accuracy, head); })},
                  {"learning_rate", result.learning_rate},
                  {"images_per_s", result.images_per_s}});
}

std::string profile_of_json(const StepProfile& profile) {
  Json json{{"steps", profile.steps},
            {"images", profile.images},
            {"images_per_s", profile.images_per_s},
            {"seconds", profile.seconds},
            {"waited_seconds", profile.waited_seconds},
            {"seconds_by_kind", profile.seconds_by_kind},
            {"processes", profile.processes}};
  if (profile.processes > 1) {
    json["communication"] = {{"seconds", profile.communication.seconds},
                             {"waited_seconds", profile.communication.waited_seconds},
                             {"hidden", profile.communication.hidden},
                             {"cpu_seconds", profile.communication.cpu_seconds},
                             {"other_seconds", profile.communication.other_seconds},
                             {"longest_other_seconds", profile.communication.longest_other_seconds}};
  }
  return json.dump(2);
}

std::string no_epoch_header(const std::vector<Head>&, bool) { return {}; }
std::string no_step_header(const std::vector<Head>&) { return {}; }

std::string unchanged(std::string line, const std::vector<Head>&) { return line; }

}  // namespace

const LineFormat& csv_lines() {
  static constexpr LineFormat format{.suffix = ".csv",
                                     .epoch_header = epoch_header_of_csv,
                                     .step_header = step_header_of_csv,
                                     .epoch_line = epoch_line_of_csv,
                                     .step_line = step_line_of_csv,
                                     .epoch_of = number_of_csv,
                                     .step_of = number_of_csv,
                                     .updated = with_all_cells,
                                     .profile = nullptr};
  return format;
}

const LineFormat& json_lines() {
  static constexpr LineFormat format{.suffix = ".jsonl",
                                     .epoch_header = no_epoch_header,
                                     .step_header = no_step_header,
                                     .epoch_line = epoch_line_of_json,
                                     .step_line = step_line_of_json,
                                     .epoch_of = epoch_of_json,
                                     .step_of = step_of_json,
                                     .updated = unchanged,
                                     .profile = profile_of_json};
  return format;
}

}  // namespace facet::train
