#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "facet/tensor_types.h"
#include "interchange/readable_file.h"

namespace facet::interchange {

// The safetensors format (https://github.com/huggingface/safetensors): the header's length as 8 bytes, little-endian;
// the header, a JSON object of tensors by name ({"dtype", "shape", "data_offsets"}) and of strings under __metadata__;
// the tensors' elements, row-major, without holes.
//
// Files that are written here hold, in __metadata__ under `crc32c`, a JSON object with the CRC-32C of each tensor's
// bytes by its name, as 8 hexadecimal digits, and under `__metadata__` that of all other metadata: of each key and its
// value, in the order of the keys, each followed by a NUL byte. Where a file holds it, it is checked; files of other
// programs hold none and are taken as they are.

/// Element types that are read; f32 and s64 are written.
enum class ElementType : std::uint8_t { f32, f64, f16, bf16, s64 };

/// As the format has it: "F32", "F64", "F16", "BF16", "I64".
std::string_view to_string(ElementType type);
std::size_t size_of(ElementType type);

/// What a file says of itself, by key.
using Metadata = std::map<std::string, std::string>;

/// A tensor of a file.
struct TensorEntry {
  std::string name;
  ElementType type = ElementType::f32;
  Shape shape;
  std::uint64_t begin = 0;  ///< of its bytes, from the end of the header
  std::uint64_t end = 0;
  std::optional<std::uint32_t> crc32c{};  ///< of its bytes, where the file holds it
};

/// An open safetensors file. Its header is checked in full when it is opened, so that a hostile file is refused there;
/// tensors are read, and their CRCs checked, when asked for. Const members may be called from many threads at once.
class SafetensorsReader {
 public:
  /// @throws Error naming the file and what is wrong with it.
  explicit SafetensorsReader(const std::filesystem::path& file);

  /// The file, as messages call it.
  const std::string& name() const { return file_.name(); }
  /// The whole file's.
  std::uint64_t bytes() const { return file_.size(); }
  /// Without the CRCs.
  const Metadata& metadata() const { return metadata_; }
  /// In the order in which they lie in the file.
  const std::vector<TensorEntry>& tensors() const { return tensors_; }
  /// Null when there is none of that name.
  const TensorEntry* find(std::string_view name) const;
  /// @throws Error naming the file and the tensor when there is none of that name or it has another shape.
  const TensorEntry& require(std::string_view name, const Shape& shape) const;

  /// Elements of an F32, F64, F16 or BF16 tensor.
  /// @throws Error naming the file and the tensor when it is of another type, can't be read or doesn't have its CRC.
  std::vector<float> read_f32(const TensorEntry& tensor) const;
  /// Elements of an I64 tensor. @throws Error likewise.
  std::vector<std::int64_t> read_s64(const TensorEntry& tensor) const;

 private:
  std::vector<float> read_16_bit(const TensorEntry& tensor) const;
  template <class Element>
  std::vector<Element> read_whole(const TensorEntry& tensor) const;
  void check(const TensorEntry& tensor, std::uint32_t found) const;

  ReadableFile file_;
  std::uint64_t data_begin_ = 0;
  Metadata metadata_;
  std::vector<TensorEntry> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

using TensorValues = std::variant<std::vector<float>, std::vector<std::int64_t>>;

/// A tensor to be written, or found in a file. Its values are asked for when its turn comes, so that one tensor at a
/// time is in memory.
struct TensorSource {
  std::string name;
  Shape shape;
  std::function<TensorValues()> values;
  DataType type = DataType::f32;  ///< f32 or s64: what `values` gives
};

/// Writes a safetensors file, whole or not at all. I64 tensors come first and the others in the order given: PyTorch
/// views elements in place, which wants each aligned to its size.
/// Where the file is a pipe or a device, sources are asked for their values twice: the CRCs come before them.
/// @throws Error naming the file and the tensor when names repeat or a source gives another count than its shape's;
///   naming the file when its metadata have the key `crc32c`, and with the system's reason when it can't be written.
void write_safetensors(const std::filesystem::path& file, const Metadata& metadata,
                       const std::vector<TensorSource>& tensors);

}  // namespace facet::interchange
