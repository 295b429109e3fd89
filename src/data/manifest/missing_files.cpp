#include "data/manifest/missing_files.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <string_view>
#include <unordered_map>

namespace facet::data {
namespace {

using Clock = std::chrono::steady_clock;

/// The files of one folder by name, each with the indices of the rows that name it.
using Wanted = std::unordered_map<std::string_view, std::vector<std::size_t>>;

struct FolderCloser {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

bool is_absent(int error) { return error == ENOENT || error == ENOTDIR; }

/// Whether stat() reports that the file doesn't exist.
bool is_missing(const std::filesystem::path& file) {
  struct stat status {};
  return ::stat(file.c_str(), &status) != 0 && is_absent(errno);
}

/// Removes the files that exist from `wanted`; removes all if the folder exists but can't be listed.
/// @return false when the time limit is exceeded.
bool remove_existing(const std::filesystem::path& folder, Clock::time_point end, Wanted& wanted) {
  const std::unique_ptr<DIR, FolderCloser> opened(::opendir(folder.c_str()));
  if (!opened) {
    if (!is_absent(errno)) wanted.clear();
    return Clock::now() < end;
  }
  constexpr int entries_between_time_checks = 256;
  for (int entries = 1; !wanted.empty(); ++entries) {
    errno = 0;
    const dirent* entry = ::readdir(opened.get());
    if (!entry) {
      if (errno != 0) wanted.clear();
      break;
    }
    wanted.erase(entry->d_name);
    if (entries % entries_between_time_checks == 0 && Clock::now() >= end) return false;
  }
  return Clock::now() < end;
}

}  // namespace

std::vector<std::size_t> missing_files(const std::filesystem::path& root, const std::vector<std::string>& files,
                                       std::chrono::milliseconds limit) {
  const Clock::time_point end = Clock::now() + limit;
  std::map<std::string_view, Wanted> folders;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const std::string_view file = files[i];
    const std::size_t name = file.rfind('/') + 1;  // 0 without a folder
    if (name < file.size()) folders[file.substr(0, name)][file.substr(name)].push_back(i);
  }
  std::vector<std::size_t> missing;
  for (auto& [name, wanted] : folders) {
    const std::filesystem::path folder = root / name;
    if (!remove_existing(folder.empty() ? "." : folder, end, wanted)) return {};
    if (wanted.empty() || !is_missing(folder / wanted.begin()->first)) continue;
    for (const auto& [file, rows] : wanted) missing.insert(missing.end(), rows.begin(), rows.end());
  }
  std::sort(missing.begin(), missing.end());
  return missing;
}

}  // namespace facet::data
