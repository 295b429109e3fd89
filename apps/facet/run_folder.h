#pragma once

#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "facet/data.h"

namespace facet::app {

/// Whether a folder holds a run: something that training could go on from or that a new run would overwrite.
bool holds_run(const std::filesystem::path& folder);

/// runs/2026-11-25_09-30-00: the local time, and a number behind it where that is taken.
std::filesystem::path new_run_folder();

/// Makes it where it is missing. @throws Error when it can't be made.
void make_run_folder(const std::filesystem::path& folder);

/// The model file that is meant by a run's folder or a model file.
/// @param checkpoint empty: the run's best, or its last where there is no best; else a file, or the name of one of the
///   run's checkpoints with or without .safetensors.
/// @throws Error saying what was looked for.
std::filesystem::path find_model(const std::filesystem::path& run_or_model, const std::string& checkpoint);

/// The heads of a run that can be resumed, in the order of its classes, which an earlier build may have chosen in another
/// way; none where the folder holds no such run.
std::vector<Head> begun_heads(const std::filesystem::path& run);

/// A run that fails leaves its reason in its folder's error.txt, which the next attempt removes.
void record_failure(const std::filesystem::path& run, const std::exception& error);
void forget_failure(const std::filesystem::path& run);
/// The reason of a run that failed; empty for none.
std::string read_failure(const std::filesystem::path& run);

/// A path as a shell and a command of ours take it: in quotes where it needs them, one that begins with a dash after
/// ./.
std::string shell_word(const std::string& path);

}  // namespace facet::app
