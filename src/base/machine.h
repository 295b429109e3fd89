#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "facet/machine.h"

/// What the kernel's files (/proc, /sys) report about the machine and about this process. `root` is the folder below
/// which they are read: "/", or a test's folder.
namespace facet::base {

/// Current clock frequency of the first core in MHz; 0 if the system doesn't report it.
double cpu_frequency_mhz(const std::filesystem::path& root = "/");

/// When the kernel gives this process transparent huge pages: "always", "madvise" or "never" (also if prctl disables
/// them for this process); empty if the kernel doesn't support them.
std::string huge_page_policy(const std::filesystem::path& root = "/");

/// Bytes of this process that are on huge pages now.
std::int64_t huge_page_bytes(const std::filesystem::path& root = "/");

/// The value of a limit that isn't set.
inline constexpr std::int64_t no_limit = INT64_MAX;

/// The smallest CPU quota of this process's cgroups, in whole cores, rounded up; no_limit if there is none.
std::int64_t cgroup_cores(const std::filesystem::path& root);

/// The smallest number of bytes left under the memory limits of this process's cgroups; at least 0, and no_limit if
/// there is no limit. File cache that isn't in active use doesn't count as used: the kernel drops it on demand.
std::int64_t cgroup_memory(const std::filesystem::path& root);

/// MemAvailable of /proc/meminfo in bytes; no_limit if the kernel doesn't report it.
std::int64_t system_memory(const std::filesystem::path& root);

/// The value of the first line "KEY: VALUE" with this key in a file such as /proc/cpuinfo or /proc/meminfo; empty if
/// there is none.
std::string field(const std::filesystem::path& file, const std::string& key);

/// The best CPU ISA that the flags of /proc/cpuinfo allow, by cpu_isa()'s names.
std::string cpu_isa_of(const std::string& flags);

}  // namespace facet::base
