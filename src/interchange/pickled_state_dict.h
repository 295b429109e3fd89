#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "facet/tensor_types.h"

namespace facet::interchange {

/// Element types of PyTorch's storages that are read.
enum class StorageType : std::uint8_t { f64, f32, f16, bf16, s64 };
std::size_t size_of(StorageType type);

/// Elements of a storage that a pickle describes: the element at indices i lies at offset + sum(i * strides).
struct PickledTensor {
  std::string name = {};
  std::string storage = {};  ///< its key
  StorageType type = StorageType::f32;
  std::int64_t storage_elements = 0;
  std::int64_t offset = 0;
  Shape shape = {};
  std::vector<std::int64_t> strides = {};

  /// Elements of the storage from the tensor's first to its last; within the storage.
  std::int64_t extent() const;
};

/// The tensors of a state_dict in the pickle that torch.save writes (protocols 2 to 5), in its order. A pickle is a
/// program for Python's pickle machine, which may name any function to be called; here it is read as data: of all names
/// only those of dictionaries, of PyTorch's storages and of what makes a tensor of one mean anything, and nothing is
/// run.
/// @param file names the file in messages.
/// @throws Error naming the file and what was found: another name, something else than a dictionary of tensors by name,
///   a tensor that leaves its storage, a pickle that is cut off or too large.
std::vector<PickledTensor> read_state_dict(const std::string& file, std::span<const std::byte> pickle);

}  // namespace facet::interchange
