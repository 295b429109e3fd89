#pragma once

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/info.h>

#include <algorithm>
#include <cstddef>

namespace facet::data {

/// While it lives, oneTBB may have more workers than cores, so that an arena gets those that it asks for: by default
/// all arenas together get one a core, less one. The number is the same for every caller, because the least one rules; a
/// base::ComputeScope on oneTBB limits them further, to its threads and those that it was told of.
inline tbb::global_control lifted_worker_limit() {
  constexpr std::size_t most_workers = 256;
  const auto cores = static_cast<std::size_t>(tbb::info::default_concurrency());
  return {tbb::global_control::max_allowed_parallelism, std::max(most_workers, 2 * cores)};
}

}  // namespace facet::data
