#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "facet/files.h"
#include "facet/model_file.h"
#include "facet/parameters.h"
#include "formats/safetensors.h"
#include "train/slot_shards.h"
#include "train/training_state.h"

namespace facet::train {

/// The description of a run that its last.safetensors holds.
struct RunRecord {
  TrainingState state;
  nlohmann::ordered_json options;  ///< as fixed_options() returns them: an object of strings, numbers and booleans
  int threads = 1;                 ///< compute threads
  std::string validation_data;     ///< fingerprint() of the validation set; empty: no set, or not recorded
  bool is_session = false;         ///< saved by a TrainingSession, which knows no epochs and no data
};

/// A run's last.safetensors. The file is opened once, so that everything read from it belongs together even if another
/// process replaces it meanwhile.
class LastCheckpoint {
 public:
  /// @throws Error naming the file when it holds no run or a damaged record: a member is missing, of another type or
  ///   out of range, or the sums don't match the heads.
  explicit LastCheckpoint(const std::filesystem::path& file);

  /// The file's name in messages.
  const std::string& name() const { return reader_.name(); }
  const RunRecord& record() const { return record_; }
  const ModelInfo& info() const { return info_; }
  /// The files beside it that belong to it. average_file() is empty where the run keeps no average.
  const std::filesystem::path& optimizer_file() const { return optimizer_file_; }
  const std::filesystem::path& average_file() const { return average_file_; }

  /// Loads the weights into `parameters`, which must have the optimiser's slots, the average into `average` unless it
  /// is null, and the optimiser's state by `write`, tensor by tensor. @throws Error naming the file and the part of it
  /// that doesn't fit; nothing is loaded unless all files exist and have all tensors.
  void load(Parameters& parameters, Parameters* average, const WriteSlot& write) const;

 private:
  formats::SafetensorsReader reader_;
  ModelInfo info_;
  RunRecord record_;
  std::filesystem::path optimizer_file_, average_file_;
};

/// A run's folder and its checkpoints. checkpoints/last.safetensors is a model file whose metadata holds, as JSON under
/// `training`, the run's record and the name of the file with the optimiser's state, last.optimizer-STEP.safetensors
/// (tensors exp_avg.PARAMETER and so on, in PyTorch's order); a run that averages weights has a model file of the
/// average beside it, last.average-STEP.safetensors. These files are written before last.safetensors, and older ones
/// are removed after it, so that a kill at any moment leaves a consistent checkpoint.
class RunFolder {
 public:
  explicit RunFolder(const std::filesystem::path& folder);

  std::filesystem::path tuning_record() const { return folder_ / "tuning.json"; }
  /// The existing tuning record, which earlier versions wrote under another name; tuning_record() where there is none.
  std::filesystem::path written_tuning_record() const;
  std::filesystem::path last() const { return checkpoints_ / "last.safetensors"; }
  std::filesystem::path best() const { return checkpoints_ / "best.safetensors"; }
  /// epoch-007.safetensors
  std::filesystem::path epoch(std::int64_t number) const;

  /// Whether the folder has the lines of a run's epochs, those of csv_sink() or of json_sink().
  /// @throws Error naming the file that can't be accessed.
  bool has_metrics() const;

  /// Makes the folder and locks it until this object is destroyed. Call this before changing anything in the folder.
  /// @return whether the file system has locks.
  /// @throws Error naming the folder and the lock's owner where another run uses it.
  bool lock();
  bool is_locked() const { return lock_.has_value(); }

  /// Makes the folder of the checkpoints and removes the temporary files that a killed run left.
  /// @throws Error naming the folder or file that can't be made, read or written.
  void prepare() const;
  /// Removes the optimiser and average files that a kill left and that don't belong to the last checkpoint.
  /// @param last the checkpoint in this folder, after it was loaded successfully; null: there is none.
  void remove_stale(const LastCheckpoint* last) const;

  /// Saves the last checkpoint: weights, optimiser state, average and record. @param average may be null. @param read
  /// is called for one tensor of the optimiser's state after the other.
  /// @throws Error naming the file and the reason; the previous checkpoint then stays.
  void save_last(const ModelInfo& info, const Parameters& parameters, const Parameters* average,
                 const RunRecord& record, const ReadSlot& read) const;
  /// Saves the best weights so far. @throws Error like save_last().
  void save_best(const ModelInfo& info, const Parameters& parameters) const;
  /// Saves an epoch's weights and removes those of all epochs but the `keep` newest.
  /// @throws Error like save_last(), and naming the folder when it can't be read.
  void save_epoch(std::int64_t number, int keep, const ModelInfo& info, const Parameters& parameters) const;

  /// The average's file that last.safetensors names, whether or not it exists; nothing where the run keeps no average
  /// or last.safetensors holds no run. @throws Error naming the file when it can't be read.
  std::optional<std::filesystem::path> average() const;

 private:
  /// The path of a file beside last.safetensors, such as last.optimizer-24.safetensors.
  std::filesystem::path beside_last(std::string_view prefix, std::int64_t step) const;
  void remove_others(std::string_view prefix, const std::filesystem::path& kept) const;

  std::filesystem::path folder_;
  std::filesystem::path checkpoints_;
  std::optional<FolderLock> lock_;
};

}  // namespace facet::train
