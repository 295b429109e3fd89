#include "train/metrics_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string_view>

#include "base/files.h"
#include "facet/error.h"
#include "facet/files.h"
#include "train/training_state.h"

namespace facet::train {
namespace {

using EpochOfLine = std::optional<std::int64_t> (*)(const std::string& line);

std::optional<std::int64_t> epoch_of_csv(const std::string& line) {
  std::int64_t epoch = 0;
  const char* end = line.data() + line.size();
  const auto [stop, error] = std::from_chars(line.data(), end, epoch);
  if (error != std::errc() || stop == end || *stop != ',') return std::nullopt;
  return epoch;
}

std::optional<std::int64_t> epoch_of_json(const std::string& line) {
  const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("epoch") || !json["epoch"].is_number_integer()) return std::nullopt;
  return json["epoch"].get<std::int64_t>();
}

std::ptrdiff_t count_commas(std::string_view text) { return std::count(text.begin(), text.end(), ','); }

/// Fills up lines of metrics.csv with empty cells to the current number of columns: earlier versions wrote fewer.
std::string with_all_cells(const std::string& lines, std::ptrdiff_t commas) {
  std::istringstream stream(lines);
  std::string filled, line;
  while (std::getline(stream, line)) {
    const std::ptrdiff_t missing = commas - count_commas(line);
    filled += line + std::string(static_cast<std::size_t>(std::max<std::ptrdiff_t>(missing, 0)), ',') + "\n";
  }
  return filled;
}

std::string lines_before(const std::filesystem::path& file, std::int64_t epoch, EpochOfLine epoch_of) {
  if (!base::exists(file)) return {};
  std::istringstream stream(read_text(file));
  std::string kept, line;
  while (std::getline(stream, line)) {
    const std::optional<std::int64_t> found = epoch_of(line);
    if (found && *found < epoch) kept += line + "\n";
  }
  return kept;
}

void replace(const std::filesystem::path& file, std::string_view text) {
  AtomicFile replacement(file);
  replacement.write(text);
  replacement.commit();
}

EpochMetrics metrics_of(const nlohmann::ordered_json& json) {
  constexpr double any = std::numeric_limits<double>::max();
  if (!json.is_object()) throw Error("a JSON object is needed");
  EpochMetrics metrics;
  metrics.epoch = whole_field(json, "epoch", 1);
  metrics.images_per_s = number_field(json, "images_per_s", 0, any);
  metrics.seconds = number_field(json, "seconds", 0, any);
  metrics.peak_resident_bytes = whole_field(json, "peak_resident_bytes", 0);
  const auto validation = json.find("validation_accuracy");
  if (validation == json.end()) return metrics;
  if (!validation->is_object()) throw Error("`validation_accuracy` is not a JSON object");
  for (const auto& [head, accuracy] : validation->items()) {
    std::optional<double>& value = metrics.validation_accuracy[head];
    if (!accuracy.is_null()) value = number_field(*validation, head.c_str(), 0, 1);
  }
  return metrics;
}

std::string quoted_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string doubled;
  for (const char character : text) doubled.append(character == '"' ? 2 : 1, character);
  return fmt::format("\"{}\"", doubled);
}

std::string header_of(const std::vector<Head>& heads) {
  std::string header = "epoch,train_loss,validation_loss";
  for (const Head& head : heads) header += fmt::format(",{}", quoted_cell("validation_accuracy_" + head.name));
  return header + ",learning_rate,images_per_s,seconds,peak_resident_bytes,waited\n";
}

}  // namespace

MetricsFiles::MetricsFiles(const std::filesystem::path& folder, const std::vector<Head>& heads)
    : csv_(folder / "metrics.csv"),
      jsonl_(folder / "metrics.jsonl"),
      csv_header_(header_of(heads)),
      heads_(heads.size()) {}

std::string MetricsFiles::csv_lines_before(std::int64_t epoch) const {
  EpochResult empty;
  const std::ptrdiff_t commas = count_commas(csv_line(empty, heads_));
  return with_all_cells(lines_before(csv_, epoch, epoch_of_csv), commas);
}

bool MetricsFiles::exist() const { return base::exists(csv_) || base::exists(jsonl_); }

void MetricsFiles::cut(std::int64_t epoch) const {
  if (base::exists(csv_)) replace(csv_, csv_header_ + csv_lines_before(epoch));
  if (base::exists(jsonl_)) replace(jsonl_, lines_before(jsonl_, epoch, epoch_of_json));
}

void MetricsFiles::add(const EpochResult& result) const {
  replace(csv_, csv_header_ + csv_lines_before(result.epoch) + csv_line(result, heads_) + "\n");
  replace(jsonl_, lines_before(jsonl_, result.epoch, epoch_of_json) + json_line(result) + "\n");
}

std::vector<EpochMetrics> read_metrics(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / "metrics.jsonl";
  std::vector<EpochMetrics> epochs;
  if (!base::exists(file)) return epochs;
  std::istringstream stream(read_text(file));
  std::string line;
  while (std::getline(stream, line)) {
    try {
      epochs.push_back(metrics_of(nlohmann::ordered_json::parse(line, nullptr, false)));
    } catch (const Error& error) {
      throw Error(fmt::format("{}:{}: {}", file.string(), epochs.size() + 1, error.what()));
    }
  }
  return epochs;
}

std::string csv_line(const EpochResult& result, std::size_t heads) {
  std::string line = fmt::format("{},{},", result.epoch, result.train_loss);
  if (result.validation.empty()) {
    line.append(heads, ',');
  } else {
    line += fmt::format("{}", result.validation_loss);
    for (const HeadResult& head : result.validation) {
      line += head.labelled > 0 ? fmt::format(",{}", head.accuracy) : ",";
    }
  }
  return line + fmt::format(",{},{:.6g},{:.6g},{},{:.4g}", result.learning_rate, result.images_per_s, result.seconds,
                            result.peak_resident_bytes, result.waited);
}

std::string json_line(const EpochResult& result) {
  nlohmann::ordered_json json{{"epoch", result.epoch}, {"train_loss", result.train_loss}};
  if (!result.validation.empty()) {
    json["validation_loss"] = result.validation_loss;
    json["validation_accuracy"] = nlohmann::ordered_json::object();
    for (const HeadResult& head : result.validation) {
      nlohmann::ordered_json& accuracy = json["validation_accuracy"][head.head];
      if (head.labelled > 0) accuracy = head.accuracy;
    }
  }
  json["learning_rate"] = result.learning_rate;
  json["images_per_s"] = result.images_per_s;
  json["seconds"] = result.seconds;
  json["peak_resident_bytes"] = result.peak_resident_bytes;
  json["waited"] = result.waited;
  return json.dump();
}

}  // namespace facet::train
