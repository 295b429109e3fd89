#include "train/file_system.h"

#include <fmt/format.h>

#include <system_error>

#include "facet/error.h"

namespace facet::train {
namespace {

void require(const std::error_code& error, const std::filesystem::path& path) {
  if (error) throw Error(fmt::format("{}: can't be looked at: {}", path.string(), error.message()));
}

}  // namespace

bool is_there(const std::filesystem::path& path) {
  std::error_code error;
  const bool there = std::filesystem::exists(path, error);
  require(error, path);
  return there;
}

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
