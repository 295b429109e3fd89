#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/folder_lock.h"
#include "facet/model_file.h"
#include "facet/parameters.h"
#include "interchange/safetensors.h"
#include "train/training_state.h"

namespace facet::train {

/// What last.safetensors says of the run that wrote it.
struct RunRecord {
  TrainingState state;
  nlohmann::ordered_json options;  ///< of fixed_options(): an object of strings, numbers and booleans
  int threads = 1;                 ///< compute threads
  std::string validation_data;     ///< fingerprint() of the validation set; empty: none, or not recorded
};

/// A run's last.safetensors, opened once: whatever replaces the file meanwhile, all that is read belongs together.
class LastCheckpoint {
 public:
  /// @throws Error naming the file when it holds no run, or a damaged record: sums must be the heads' and numbers in
  ///   range.
  explicit LastCheckpoint(const std::filesystem::path& file);

  /// The file, as messages call it.
  const std::string& name() const { return reader_.name(); }
  const RunRecord& record() const { return record_; }
  const ModelInfo& info() const { return info_; }
  /// Files beside it that belong to it. The average's is empty where the run keeps none.
  const std::filesystem::path& optimizer_file() const { return optimizer_file_; }
  const std::filesystem::path& average_file() const { return average_file_; }

  /// Loads the weights, the optimiser's state and, unless that is null, the average. The slots must be there.
  /// @throws Error naming the file and what of it doesn't fit.
  void load(Parameters& parameters, Parameters* average) const;

 private:
  interchange::SafetensorsReader reader_;
  ModelInfo info_;
  RunRecord record_;
  std::filesystem::path optimizer_file_, average_file_;
};

/// A run's folder and its checkpoints. checkpoints/last.safetensors is a model file whose metadata holds, as JSON under
/// `training`, the run's record and the name of the file with the optimiser's state, last.optimizer-STEP.safetensors
/// (tensors exp_avg.PARAMETER and so on, in PyTorch's order); a run that averages weights has a model file of the
/// average beside it, last.average-STEP.safetensors. These are written first and older ones are removed last, so that a
/// kill at any moment leaves files that fit.
class RunFolder {
 public:
  explicit RunFolder(const std::filesystem::path& folder);

  std::filesystem::path choices() const { return folder_ / "choices.json"; }
  std::filesystem::path last() const { return checkpoints_ / "last.safetensors"; }
  std::filesystem::path best() const { return checkpoints_ / "best.safetensors"; }
  /// epoch-007.safetensors
  std::filesystem::path epoch(std::int64_t number) const;

  /// Makes the folder and locks it until this object is destroyed; nothing in it may be changed before.
  /// @return whether the file system has locks.
  /// @throws Error naming the folder and the owner where another run is at work in it.
  bool lock();
  bool is_locked() const { return lock_.has_value(); }

  /// Makes the folder of the checkpoints and removes what a killed run left half written.
  /// @throws Error naming what can't be made, read or written.
  void prepare() const;
  /// Removes files of optimisers and averages that don't belong to the last checkpoint: a kill may have left them.
  /// @param last the checkpoint in this folder, which could be loaded; null: there is none.
  void remove_stale(const LastCheckpoint* last) const;

  /// Saves them. @param average may be null. @throws Error naming the file and the reason; those before then stay.
  void save_last(const ModelInfo& info, const Parameters& parameters, const Parameters* average,
                 const RunRecord& record) const;
  /// @throws Error likewise.
  void save_best(const ModelInfo& info, const Parameters& parameters) const;
  /// Saves an epoch's weights and removes those of all epochs but the `keep` newest.
  /// @throws Error likewise, and naming the folder when it can't be read.
  void save_epoch(std::int64_t number, int keep, const ModelInfo& info, const Parameters& parameters) const;

  /// The file of the average that last.safetensors names, whether it is there or not; none where the run keeps no
  /// average, or the file is no run's. @throws Error naming the file when it can't be read.
  std::optional<std::filesystem::path> average() const;

 private:
  /// A file beside last.safetensors: last.optimizer-24.safetensors.
  std::filesystem::path beside_last(std::string_view prefix, std::int64_t step) const;
  void remove_others(std::string_view prefix, const std::filesystem::path& kept) const;

  std::filesystem::path folder_;
  std::filesystem::path checkpoints_;
  std::optional<base::FolderLock> lock_;
};

}  // namespace facet::train
