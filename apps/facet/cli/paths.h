#pragma once

#include <filesystem>

#include "facet/files.h"

namespace facet::app {

/// Whether the path is a regular file; links are followed. @throws Error as status_of does.
inline bool is_file(const std::filesystem::path& path) { return std::filesystem::is_regular_file(status_of(path)); }

}  // namespace facet::app
