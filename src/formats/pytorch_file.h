#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "formats/safetensors.h"

namespace facet::formats {

/// The tensors of a file that torch.save wrote.
struct PyTorchFile {
  std::string path = {};  ///< where the state_dict lies in a checkpoint: `["state_dict"]`; empty: it is the whole file
  std::vector<TensorSource> tensors = {};
};

/// Opens a file that torch.save wrote, of a state_dict or of a checkpoint that holds one. Since PyTorch 1.6, it is a
/// zip archive of a pickle and the storages of its tensors; before, pickles and then storages follow each other.
/// Pickles are read in full when the file is opened, as data (see pickle.h). Values are read on request from the file,
/// which stays open: floating-point values as f32, integers as s64.
/// @throws Error naming the file and what is wrong with it, here or from a tensor's `values`.
PyTorchFile open_pytorch_file(const std::filesystem::path& file);

}  // namespace facet::formats
