#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/files.h"
#include "facet/error.h"
#include "facet/precision.h"
#include "facet/run_folder.h"
#include "train/run_folder.h"
#include "train/run_options.h"

namespace facet {
namespace {

Precision precision_of(const train::RunRecord& record) {
  const PrecisionChoice choice = parse_precision(record.options.at("precision").get<std::string>());
  return choice == PrecisionChoice::bf16 ? Precision::bf16 : Precision::f32;
}

}  // namespace

std::filesystem::path last_checkpoint(const std::filesystem::path& run) { return train::RunFolder(run).last(); }

std::filesystem::path best_checkpoint(const std::filesystem::path& run) { return train::RunFolder(run).best(); }

bool holds_run(const std::filesystem::path& folder) {
  return base::exists(last_checkpoint(folder)) || train::RunFolder(folder).has_metrics();
}

std::filesystem::path run_result(const std::filesystem::path& run) {
  const train::RunFolder folder(run);
  if (base::is_file(folder.best())) return folder.best();
  if (base::is_file(folder.last())) return folder.average().value_or(folder.last());
  throw Error(fmt::format(
      "{} isn't a run's folder: it has neither checkpoints/best.safetensors nor checkpoints/last.safetensors",
      run.string()));
}

std::optional<RunStatus> read_run_status(const std::filesystem::path& run) {
  if (!base::exists(last_checkpoint(run))) return std::nullopt;
  const train::LastCheckpoint last(last_checkpoint(run));
  return RunStatus{last.info(), precision_of(last.record()), last.record().state.epoch - 1};
}

void require_same_run(const std::filesystem::path& run, const ModelInfo& info, const TrainOptions& options,
                      const Dataset& train) {
  const train::LastCheckpoint last(last_checkpoint(run));
  Precision precision = options.precision == PrecisionChoice::bf16 ? Precision::bf16 : Precision::f32;
  if (options.precision == PrecisionChoice::automatic) precision = precision_of(last.record());
  train::require_same_model(last.name(), last.info(), info);
  train::require_same_options(last.name(), last.record().options, train::fixed_options(options, precision, train));
}

}  // namespace facet
