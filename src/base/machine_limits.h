#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

/// What the kernel's files say of this process, read below a root folder ("/", or a test's).
namespace facet::base {

/// What a limit that isn't set counts as.
inline constexpr std::int64_t no_limit = INT64_MAX;

/// The smallest CPU quota of this process's cgroups, in whole cores, rounded up; no_limit where there is none.
std::int64_t cgroup_cores(const std::filesystem::path& root);

/// The smallest room under the memory limits of this process's cgroups, in bytes; never below 0, no_limit where there
/// is none. File cache that isn't in active use counts as room: the kernel drops it on demand.
std::int64_t cgroup_memory(const std::filesystem::path& root);

/// MemAvailable of /proc/meminfo in bytes; no_limit where the kernel doesn't tell.
std::int64_t system_memory(const std::filesystem::path& root);

/// The value after `key` and a colon in a file of such lines (/proc/cpuinfo, /proc/meminfo); the first, or "" for none.
std::string field(const std::filesystem::path& file, const std::string& key);

/// The best instruction set of ours that /proc/cpuinfo's flags allow, in cpu_instructions()'s words.
std::string instructions_of(const std::string& flags);

}  // namespace facet::base
