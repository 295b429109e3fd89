#pragma once

#include <filesystem>
#include <vector>

namespace facet::train {

// What std::filesystem tells, with facet's errors.

/// @throws Error naming the path when the system can't tell (a folder above it that may not be searched, say).
bool is_there(const std::filesystem::path& path);

/// Whether a regular file, or a folder, is there; links are followed. @throws Error likewise.
bool is_file(const std::filesystem::path& path);
bool is_folder(const std::filesystem::path& path);

/// What a folder holds, in no order; nothing where there is no such folder.
/// @throws Error naming the folder when it can't be read.
std::vector<std::filesystem::path> entries_of(const std::filesystem::path& folder);

}  // namespace facet::train
