#include "measured_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/median.h"
#include "config_file.h"
#include "facet/error.h"
#include "figures.h"
#include "train/file_system.h"
#include "train/metrics_files.h"

namespace facet::app {
namespace fs = std::filesystem;
namespace {

/// As the trainer has it, to the last bit: the best epoch is that of best.safetensors.
double mean_accuracy(const train::EpochMetrics& epoch, const std::vector<Head>& heads) {
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

/// The first `count` epochs. A kill may have left the line of one that no checkpoint stands behind, which will be
/// trained again.
std::vector<train::EpochMetrics> read_epochs(const fs::path& folder, std::int64_t count) {
  std::vector<train::EpochMetrics> epochs = train::read_metrics(folder);
  std::erase_if(epochs, [&](const train::EpochMetrics& epoch) { return epoch.epoch > count; });
  if (std::ssize(epochs) == count) return epochs;
  throw Error(fmt::format("{}: {} found, the run's checkpoint stands after {}", (folder / "metrics.jsonl").string(),
                          counted(std::ssize(epochs), "epoch"), count));
}

bool was_told_to_save_memory(const fs::path& folder) {
  if (!train::is_file(folder / "run.cfg")) return false;
  const std::vector<ConfigEntry> entries = read_config_file(folder / "run.cfg");
  return std::any_of(entries.begin(), entries.end(),
                     [](const ConfigEntry& entry) { return entry.name == "save-memory" && entry.value == "yes"; });
}

}  // namespace

MeasuredRow measured_run(const fs::path& folder, const train::RunRecord& record, const std::vector<Head>& heads) {
  MeasuredRow row;
  row.epochs = record.state.epoch - 1;
  row.precision = record.options.at("precision").get<std::string>();
  row.save_memory = was_told_to_save_memory(folder);
  const std::vector<train::EpochMetrics> epochs = read_epochs(folder, row.epochs);
  if (epochs.empty()) return row;
  const auto best = std::max_element(epochs.begin(), epochs.end(), [&](const auto& one, const auto& other) {
    return mean_accuracy(one, heads) < mean_accuracy(other, heads);
  });
  row.best_epoch = best->epoch;
  row.accuracy = best->validation_accuracy;
  std::vector<double> rates;
  for (const train::EpochMetrics& epoch : epochs) {
    rates.push_back(epoch.images_per_s);
    row.seconds += epoch.seconds;
    row.peak_resident_bytes = std::max(row.peak_resident_bytes, epoch.peak_resident_bytes);
  }
  row.images_per_s = base::median(std::move(rates));
  return row;
}

}  // namespace facet::app
