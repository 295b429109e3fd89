#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "interchange/safetensors.h"

namespace facet::interchange {

/// The tensors of a file that torch.save wrote.
struct PyTorchFile {
  std::string path = {};  ///< where the state_dict lies in a checkpoint: `["state_dict"]`; empty: it is the file's all
  std::vector<TensorSource> tensors = {};
};

/// Opens what torch.save writes of a state_dict or of a checkpoint that holds one: since PyTorch 1.6 a zip archive of a
/// pickle and of the storages that its tensors lie in, before it pickles and storages one after the other. Pickles are
/// read as data (see pickle.h), in full; values when they are asked for, from the file, which stays open:
/// floating-point ones as f32, integers as s64.
/// @throws Error naming the file and what in it isn't so, here or from a tensor's `values`.
PyTorchFile open_pytorch_file(const std::filesystem::path& file);

}  // namespace facet::interchange
