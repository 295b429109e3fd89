#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "facet/tensor_types.h"
#include "formats/pickle.h"

namespace facet::formats {

/// The maximum number of tensors in a file; a network of a thousand layers has some 6,000.
inline constexpr std::size_t max_tensors = 100'000;

/// Element types of PyTorch's storages. Weights are read from all but `other`.
enum class StorageType : std::uint8_t { f64, f32, f16, bf16, s64, other };

/// A storage that a pickle names: it holds the elements of tensors, outside the pickle.
struct PickledStorage {
  std::string key = {};
  std::string_view type_name = {};  ///< PyTorch's name of it: "torch.FloatStorage"
  StorageType type = StorageType::f32;
  std::size_t element_size = 0;  ///< bytes
  std::int64_t elements = 0;
};

/// A tensor that a pickle describes: its element at indices i is the storage's element offset + sum(i * strides).
struct PickledTensor {
  std::string name = {};
  PickledStorage storage = {};
  std::int64_t offset = 0;
  Shape shape = {};
  std::vector<std::int64_t> strides = {};

  /// Returns the number of the storage's elements from the tensor's first to its last, all within the storage.
  std::int64_t extent() const;
};

/// The tensors of a model's state_dict, in its order.
struct PickledStateDict {
  std::string path = {};  ///< where it lies in a checkpoint: `["state_dict"]`; empty where the file is the state_dict
  std::vector<PickledTensor> tensors = {};
};

/// Returns the state_dict of an object that torch.save wrote: a dictionary of tensors by name, or a checkpoint that
/// holds one under the key state_dict, model or model_state_dict or, if there is none of these, state_dict_ema or
/// model_ema. All other contents of a checkpoint are ignored.
/// @param file names the file in messages.
/// @throws Error naming the file and what was found: an object other than such a dictionary, an entry that isn't a
///   tensor, more than max_tensors tensors, a tensor that exceeds its storage or whose elements are neither
///   floating-point numbers nor 64-bit integers.
PickledStateDict read_state_dict(const std::string& file, const Pickle& pickle);

/// Returns every storage that a pickle names, once each, in their order. @throws Error naming the file and a storage
/// that is described in two ways, or whose elements have an unknown size.
std::vector<PickledStorage> read_storages(const std::string& file, const Pickle& pickle);

}  // namespace facet::formats
