#include "train/file_system.h"

#include <fmt/format.h>

#include <system_error>

#include "facet/error.h"

namespace facet::train {
namespace {

void require(const std::error_code& error, const std::filesystem::path& path) {
  if (error) throw Error(fmt::format("{}: can't be looked at: {}", path.string(), error.message()));
}

std::filesystem::file_status status_of(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::status_known(status)) require(error, path);
  return status;
}

}  // namespace

bool is_there(const std::filesystem::path& path) { return std::filesystem::exists(status_of(path)); }

bool is_file(const std::filesystem::path& path) { return std::filesystem::is_regular_file(status_of(path)); }

bool is_folder(const std::filesystem::path& path) { return std::filesystem::is_directory(status_of(path)); }

std::vector<std::filesystem::path> entries_of(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> entries;
  if (!is_there(folder)) return entries;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    entries.push_back(entry->path());
  }
  require(error, folder);
  return entries;
}

}  // namespace facet::train
