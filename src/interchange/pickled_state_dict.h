#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "facet/tensor_types.h"
#include "interchange/pickle.h"

namespace facet::interchange {

/// Tensors of a file that are read: a network of a thousand layers has some 6,000.
inline constexpr std::size_t max_tensors = 100'000;

/// Element types of PyTorch's storages. Weights are read from all but `other`.
enum class StorageType : std::uint8_t { f64, f32, f16, bf16, s64, other };

/// A storage that a pickle names: the elements that tensors lie in, kept outside of the pickle.
struct PickledStorage {
  std::string key = {};
  std::string_view type_name = {};  ///< PyTorch's: "torch.FloatStorage"
  StorageType type = StorageType::f32;
  std::size_t element_size = 0;  ///< bytes
  std::int64_t elements = 0;
};

/// Elements of a storage that a pickle describes: the element at indices i lies at offset + sum(i * strides).
struct PickledTensor {
  std::string name = {};
  PickledStorage storage = {};
  std::int64_t offset = 0;
  Shape shape = {};
  std::vector<std::int64_t> strides = {};

  /// Elements of the storage from the tensor's first to its last; within the storage.
  std::int64_t extent() const;
};

/// The tensors of a model's state_dict, in its order.
struct PickledStateDict {
  std::string path = {};  ///< where it lies in a checkpoint: `["state_dict"]`; empty where the file is the state_dict
  std::vector<PickledTensor> tensors = {};
};

/// The state_dict of what torch.save wrote: a dictionary of tensors by name, or a checkpoint that holds one under the
/// key state_dict, model or model_state_dict or, where there is none of these, state_dict_ema or model_ema. What else a
/// checkpoint holds is passed over, whatever it is.
/// @param file names the file in messages.
/// @throws Error naming the file and what was found: something else than such a dictionary, an object that is no tensor
///   in it, more than max_tensors, a tensor that leaves its storage or whose elements aren't floating-point or 64-bit
///   integers.
PickledStateDict read_state_dict(const std::string& file, const Pickle& pickle);

/// Every storage that a pickle names, each once, in their order. @throws Error naming the file and a storage that is
/// described in two ways, or of elements of unknown size.
std::vector<PickledStorage> read_storages(const std::string& file, const Pickle& pickle);

}  // namespace facet::interchange
