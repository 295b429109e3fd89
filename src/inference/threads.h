#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <string_view>

#include "base/cpus.h"
#include "base/machine.h"
#include "facet/error.h"
#include "facet/model_file.h"

namespace facet::inference {

/// @throws Error naming the option when it is no number of threads, or more than can be asked for.
inline void require_threads(std::string_view option, int threads) {
  if (threads >= 0 && threads <= base::most_threads) return;
  throw Error(fmt::format("{} is {}; 0 to {} is allowed", option, threads, base::most_threads));
}

/// Compute threads for what a user asked for; 0: OMP_NUM_THREADS, else all cores that the process may use.
/// @throws Error when it is below 0 or above base::most_threads.
inline int compute_threads(int asked) {
  require_threads("threads", asked);
  return base::compute_threads(asked, base::usable_cores());
}

/// Bytes of one image as a model takes it.
inline std::size_t image_bytes(const ModelInfo& info) {
  return static_cast<std::size_t>(info.size) * static_cast<std::size_t>(info.size) * 3;
}

}  // namespace facet::inference
