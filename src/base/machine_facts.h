#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

/// What the kernel's files say of the machine; read below a root folder ("/", or a test's).
namespace facet::base {

/// Present clock of the first core in MHz; 0 where the system doesn't tell.
double cpu_frequency_mhz(const std::filesystem::path& root = "/");

/// Bytes of the first core's second-level cache; 0 where the system doesn't tell.
std::int64_t second_level_cache_bytes(const std::filesystem::path& root = "/");

/// Bytes of the last-level caches of all cores, each counted once; 0 where the system doesn't tell.
std::int64_t last_level_cache_bytes(const std::filesystem::path& root = "/");

/// When the kernel gives this process transparent huge pages: "always", "madvise" or "never" (also where they are
/// forbidden to the process alone, by prctl); empty where it has none.
std::string huge_page_policy(const std::filesystem::path& root = "/");

/// Bytes of this process that lie on huge pages now.
std::int64_t huge_page_bytes(const std::filesystem::path& root = "/");

}  // namespace facet::base
