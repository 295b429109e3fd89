#pragma once

#include <cstddef>

#include "base/cpus.h"
#include "base/machine.h"
#include "facet/model_file.h"

namespace facet::inference {

/// Compute threads for what a user asked for; 0: OMP_NUM_THREADS, else all cores that the process may use.
inline int compute_threads(int asked) {
  return base::compute_threads(asked, base::usable_cores());
}

/// Bytes of one image as a model takes it.
inline std::size_t image_bytes(const ModelInfo& info) {
  return static_cast<std::size_t>(info.size) * static_cast<std::size_t>(info.size) * 3;
}

}  // namespace facet::inference
