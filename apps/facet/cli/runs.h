#pragma once

#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "facet/dataset.h"

namespace facet::app {

/// A folder that doesn't exist yet, named after the local time: runs/2026-11-25_09-30-00, with a number appended where
/// that folder exists.
std::filesystem::path new_run_folder();

/// Makes a run's folder where it is missing. @throws Error when it can't be made.
void make_run_folder(const std::filesystem::path& folder);

/// The model file that a user's argument names: a model file, or a checkpoint of a run's folder.
/// @param checkpoint a file, or the name of one of the run's checkpoints with or without .safetensors; empty: the run's
///   best, or where there is no best the average that goes with the last, or the last.
/// @throws Error saying what was looked for; UsageError when a checkpoint is given with a model file.
std::filesystem::path find_model(const std::filesystem::path& run_or_model, const std::string& checkpoint);

/// The heads of a run that can be resumed, with their classes in the run's order, which may differ from the order that
/// this version would choose; empty where the folder holds no such run.
std::vector<Head> begun_heads(const std::filesystem::path& run);

/// Writes the reason why a run failed to error.txt in its folder; forget_failure() removes the file.
void record_failure(const std::filesystem::path& run, const std::exception& error);
void forget_failure(const std::filesystem::path& run);
/// The reason why a run failed; empty where it didn't fail.
std::string read_failure(const std::filesystem::path& run);

/// A path as a word of a shell's command line: in quotes where needed, and with ./ before a path that begins with a
/// dash.
std::string shell_word(const std::string& path);

}  // namespace facet::app
