#pragma once

#include <filesystem>
#include <vector>

#include "interchange/safetensors.h"

namespace facet::interchange {

/// The tensors of what torch.save(model.state_dict(), file) writes: a zip archive of a pickle and of the storages that
/// its tensors lie in. The pickle is read as data (see pickled_state_dict.h), in full; values when they are asked for,
/// from the file, which stays open: floating-point ones as f32, integers as s64.
/// @throws Error naming the file and what in it isn't so, here or from a tensor's `values`.
std::vector<TensorSource> open_pytorch_file(const std::filesystem::path& file);

}  // namespace facet::interchange
