#include "reproduce/table1.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/median.h"
#include "cli/options.h"
#include "cli/output_file.h"
#include "cli/paths.h"
#include "cli/terminal.h"
#include "facet/error.h"
#include "facet/machine.h"
#include "facet/sinks.h"

namespace facet::app {

namespace fs = std::filesystem;
namespace {

/// The mean accuracy exactly as the trainer computes it.
double mean_accuracy(const EpochMetrics& epoch, const std::vector<Head>& heads) {
  double sum = 0;
  int labelled = 0;
  for (const Head& head : heads) {
    const auto found = epoch.validation_accuracy.find(head.name);
    if (found == epoch.validation_accuracy.end() || !found->second) continue;
    sum += *found->second;
    ++labelled;
  }
  return labelled == 0 ? 0 : sum / labelled;
}

/// The epoch of best.safetensors: the last one that its line calls the best. Lines of earlier versions don't say; where
/// no line does, it is the epoch of the highest accuracy. @param epochs at least one.
const EpochMetrics& best_epoch(const std::vector<EpochMetrics>& epochs, const std::vector<Head>& heads) {
  const auto last = std::find_if(epochs.rbegin(), epochs.rend(),
                                 [](const EpochMetrics& epoch) { return epoch.best.value_or(false); });
  if (last != epochs.rend()) return *last;
  return *std::max_element(epochs.begin(), epochs.end(), [&](const EpochMetrics& one, const EpochMetrics& other) {
    return mean_accuracy(one, heads) < mean_accuracy(other, heads);
  });
}

/// The first `count` epochs of a run's metrics. A kill may have left the line of a later epoch, which is not in the
/// checkpoint and will be trained again.
std::vector<EpochMetrics> read_epochs(const fs::path& folder, std::int64_t count) {
  std::vector<EpochMetrics> epochs = read_metrics(folder);
  std::erase_if(epochs, [&](const EpochMetrics& epoch) { return epoch.epoch > count; });
  if (std::ssize(epochs) == count) return epochs;
  throw Error(fmt::format("{}: {} found; the run's checkpoint has {}", (folder / "metrics.jsonl").string(),
                          counted(std::ssize(epochs), "epoch"), count));
}

bool used_save_memory(const fs::path& folder) {
  if (!is_file(folder / "run.cfg")) return false;
  const std::vector<ConfigEntry> entries = read_config_file(folder / "run.cfg");
  return std::any_of(entries.begin(), entries.end(),
                     [](const ConfigEntry& entry) { return entry.name == "save-memory" && entry.value == "yes"; });
}

}  // namespace

MeasuredRow measured_run(const fs::path& folder, const RunStatus& run) {
  MeasuredRow row;
  row.epochs = run.epochs;
  row.precision = to_string(run.precision);
  row.save_memory = used_save_memory(folder);
  const std::vector<EpochMetrics> epochs = read_epochs(folder, row.epochs);
  if (epochs.empty()) return row;
  const EpochMetrics& best = best_epoch(epochs, run.info.heads);
  row.best_epoch = best.epoch;
  row.accuracy = best.validation_accuracy;
  std::vector<double> rates;
  for (const EpochMetrics& epoch : epochs) {
    rates.push_back(epoch.images_per_s);
    row.seconds += epoch.seconds;
    row.peak_resident_bytes = std::max(row.peak_resident_bytes, epoch.peak_resident_bytes);
  }
  row.images_per_s = median(std::move(rates));
  return row;
}

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* unknown = "-";

std::string share(std::optional<double> value) { return value ? fmt::format("{:.1f}", 100 * *value) : unknown; }

std::optional<double> printed_accuracy(const PrintedRow& printed, const std::string& head) {
  const auto found = printed.accuracy.find(head);
  return found == printed.accuracy.end() ? std::nullopt : std::optional(found->second);
}

std::optional<double> measured_accuracy(const MeasuredRow& row, const std::string& head) {
  const auto found = row.accuracy.find(head);
  return found == row.accuracy.end() ? std::nullopt : found->second;
}

/// "trained", "partly trained", "not trained" or "failed".
std::string status(const Table1& table, const MeasuredRow& row) {
  if (!row.failure.empty()) return "failed";
  if (row.epochs == 0) return "not trained";
  return row.epochs < table.epochs ? "partly trained" : "trained";
}

/// The row's remark: how far the model is trained, why it failed and whether --save-memory was used.
std::string remark(const Table1& table, const MeasuredRow& row) {
  std::vector<std::string> parts;
  const std::string state = status(table, row);
  if (state == "failed") {
    parts.push_back(fmt::format("failed after {} of {} epochs: {}", row.epochs, table.epochs, row.failure));
  } else if (state == "partly trained") {
    parts.push_back(fmt::format("{} of {} epochs so far", row.epochs, table.epochs));
  } else if (state == "not trained") {
    parts.push_back("not trained yet");
  }
  if (row.save_memory) parts.emplace_back("with --save-memory, without which the batch doesn't fit into memory");
  return fmt::format("{}", fmt::join(parts, "; "));
}

/// Text escaped for a cell of a Markdown table.
std::string cell(const std::string& text) {
  std::string escaped;
  for (const char character : text) {
    if (character == '|') escaped += '\\';
    escaped += character;
  }
  return escaped;
}

std::string machine() {
  const std::string cpu = cpu_model();
  return fmt::format("{}{} ({})", counted(usable_cores(), "core"), cpu.empty() ? "" : " of " + cpu, cpu_isa());
}

Json or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

Json json_row(const Table1& table, const PrintedRow& printed, const MeasuredRow& row) {
  Json accuracy = Json::object(), paper_accuracy = Json::object();
  for (const std::string& head : table.heads) {
    accuracy[head] = or_null(measured_accuracy(row, head));
    paper_accuracy[head] = or_null(printed_accuracy(printed, head));
  }
  const bool any = row.epochs > 0;
  return {{"model", printed.model},
          {"status", status(table, row)},
          {"failure", row.failure.empty() ? Json() : Json(row.failure)},
          {"epochs", row.epochs},
          {"best_epoch", any ? Json(row.best_epoch) : Json()},
          {"accuracy", accuracy},
          {"parameters", row.parameters ? Json(*row.parameters) : Json()},
          {"images_per_s", any ? Json(row.images_per_s) : Json()},
          {"peak_resident_bytes", any ? Json(row.peak_resident_bytes) : Json()},
          {"hours", any ? Json(row.seconds / 3600) : Json()},
          {"precision", any ? Json(row.precision) : Json()},
          {"save_memory", row.save_memory},
          {"paper",
           {{"name", printed.name.empty() ? Json() : Json(printed.name)},
            {"accuracy", paper_accuracy},
            {"parameters", 1e6 * printed.parameters}}}};
}

}  // namespace

const std::vector<PrintedRow>& printed_table1() {
  static const std::vector<PrintedRow> rows{
      {"reference", "", 35.3, {{"age", 0.563}, {"gender", 0.946}, {"race", 0.584}}},
      {"resnet34", "ResNet-34", 21.8, {{"age", 0.532}, {"gender", 0.909}, {"race", 0.635}}},
      {"densenet161", "Densenet61", 26.6, {{"age", 0.535}, {"gender", 0.908}, {"race", 0.636}}},
      {"alexnet", "AlexNet", 61.1, {{"age", 0.445}, {"gender", 0.833}, {"race", 0.543}}},
      {"mobilenet_v2", "MobileNet-v2", 3.5, {{"age", 0.419}, {"gender", 0.803}, {"race", 0.475}}}};
  return rows;
}

std::vector<std::string> table1_models() {
  std::vector<std::string> names;
  for (const PrintedRow& row : printed_table1()) names.push_back(row.model);
  return names;
}

std::string markdown(const Table1& table) {
  std::vector<Table::Column> columns{{"model"}};
  for (const std::string& head : table.heads) {
    columns.push_back({cell(head) + " %", true});
    columns.push_back({"paper", true});
  }
  for (const char* title : {"M parameters", "paper", "images/s", "peak GB", "hours", "best epoch"}) {
    columns.push_back({title, true});
  }
  columns.push_back({"precision"});
  columns.push_back({"remark"});
  Table cells(std::move(columns));
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    const PrintedRow& printed = printed_table1()[i];
    const MeasuredRow& row = table.rows[i];
    const bool any = row.epochs > 0;
    std::vector<std::string> line{printed.model};
    for (const std::string& head : table.heads) {
      line.push_back(share(measured_accuracy(row, head)));
      line.push_back(share(printed_accuracy(printed, head)));
    }
    line.push_back(row.parameters ? fmt::format("{:.2f}", 1e-6 * static_cast<double>(*row.parameters)) : unknown);
    line.push_back(fmt::format("{:.1f}", printed.parameters));
    line.push_back(any ? fmt::format("{:.1f}", row.images_per_s) : unknown);
    line.push_back(any ? fmt::format("{:.2f}", 1e-9 * static_cast<double>(row.peak_resident_bytes)) : unknown);
    line.push_back(any ? fmt::format("{:.2f}", row.seconds / 3600) : unknown);
    line.push_back(any ? std::to_string(row.best_epoch) : unknown);
    line.push_back(any ? row.precision : unknown);
    line.push_back(cell(remark(table, row)));
    cells.add(std::move(line));
  }
  return cells.markdown() +
         fmt::format(
             "\n"
             "Adam, learning rate 1e-4, batches of {}, {} at {} ({}), seed {}; trained on {}, validated on {}.\n"
             "Accuracies are those of the validation set after the best epoch, which has the highest mean accuracy "
             "over the heads\n(checkpoints/best.safetensors of each model's run). images/s is the median over the "
             "epochs of training; peak is the\npeak resident memory of the training process; hours include training "
             "and validation. Table written on {}.\n"
             "paper: the figures of Table 1 of Khasanova and Sin, which calls DenseNet-161 Densenet61. They were "
             "measured on FairFace: only a\ntable of models trained and validated on FairFace's images can be compared "
             "with them. {}: not measured, or not a head\nof the paper.\n",
             table.batch, counted(table.epochs, "epoch"), to_string(table.size), table.resize, table.seed, table.train,
             table.validation, machine(), unknown);
}

std::string csv(const Table1& table) {
  std::vector<std::string> titles{"model", "status", "epochs", "best_epoch"};
  for (const std::string& head : table.heads) titles.push_back("accuracy_" + head);
  for (const char* title :
       {"parameters", "images_per_s", "peak_resident_bytes", "hours", "precision", "save_memory", "failure"}) {
    titles.emplace_back(title);
  }
  for (const std::string& head : table.heads) titles.push_back("paper_accuracy_" + head);
  titles.emplace_back("paper_parameters");

  const auto number = [](std::optional<double> value) { return value ? fmt::format("{}", *value) : ""; };
  std::string text = csv_line(titles);
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    const PrintedRow& printed = printed_table1()[i];
    const MeasuredRow& row = table.rows[i];
    const bool any = row.epochs > 0;
    std::vector<std::string> line{printed.model, status(table, row), std::to_string(row.epochs),
                                  any ? std::to_string(row.best_epoch) : ""};
    for (const std::string& head : table.heads) line.push_back(number(measured_accuracy(row, head)));
    line.push_back(row.parameters ? std::to_string(*row.parameters) : "");
    line.push_back(any ? fmt::format("{:.6g}", row.images_per_s) : "");
    line.push_back(any ? std::to_string(row.peak_resident_bytes) : "");
    line.push_back(any ? fmt::format("{:.6g}", row.seconds / 3600) : "");
    line.push_back(any ? row.precision : "");
    line.emplace_back(row.save_memory ? "yes" : "no");
    line.push_back(row.failure);
    for (const std::string& head : table.heads) line.push_back(number(printed_accuracy(printed, head)));
    line.push_back(fmt::format("{:.0f}", 1e6 * printed.parameters));
    text += csv_line(line);
  }
  return text;
}

std::string json(const Table1& table) {
  Json models = Json::array();
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    models.push_back(json_row(table, printed_table1()[i], table.rows[i]));
  }
  const Json whole{
      {"table", "table1"},
      {"train", table.train},
      {"validation", table.validation},
      {"optimizer", "adam"},
      {"learning_rate", 1e-4},
      {"batch", table.batch},
      {"epochs", table.epochs},
      {"size", table.size.height == table.size.width ? Json(table.size.height) : Json(to_string(table.size))},
      {"resize", table.resize},
      {"seed", table.seed},
      {"checkpoint", "best"},
      {"machine", {{"cpu", cpu_model()}, {"cpu_isa", cpu_isa()}, {"cores", usable_cores()}}},
      {"models", std::move(models)}};
  return whole.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace facet::app
