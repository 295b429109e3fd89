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
#include "formats/readable_file.h"

namespace facet::formats {

// The safetensors format (https://github.com/huggingface/safetensors): the header's length as 8 bytes, little-endian;
// the header, a JSON object of tensors by name ({"dtype", "shape", "data_offsets"}) and of strings under __metadata__;
// the tensors' elements, row-major, without holes.
//
// Files that are written here also hold CRCs: `crc32c` in __metadata__ is a JSON object of CRC-32Cs, each as 8
// hexadecimal digits. It has that of each tensor's bytes under the tensor's name, and that of all other metadata under
// `__metadata__`: of each key and its value, in the order of the keys, each followed by a NUL byte. The CRCs are
// checked if a file has them; files of other programs have none and are read without this check.

/// The element types that can be read; f32 and s64 can be written.
enum class ElementType : std::uint8_t { f32, f64, f16, bf16, s64 };

/// Returns the format's name of a type: "F32", "F64", "F16", "BF16", "I64".
std::string_view to_string(ElementType type);
std::size_t size_of(ElementType type);

/// The strings in a file's __metadata__, by key.
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

/// An open safetensors file. The header is checked in full when the file is opened, so that a hostile file is refused
/// there. Tensors are read, and their CRCs checked, on request. Const members are thread-safe.
class SafetensorsReader {
 public:
  /// @throws Error naming the file and what is wrong with it.
  explicit SafetensorsReader(const std::filesystem::path& file);

  /// The name of the file in messages.
  const std::string& name() const { return file_.name(); }
  /// The size of the whole file.
  std::uint64_t bytes() const { return file_.size(); }
  /// The metadata without the CRCs.
  const Metadata& metadata() const { return metadata_; }
  /// The tensors, in the order in which they lie in the file.
  const std::vector<TensorEntry>& tensors() const { return tensors_; }
  /// Returns the tensor of that name; null when there is none.
  const TensorEntry* find(std::string_view name) const;
  /// Returns the tensor of that name. @throws Error naming the file and the tensor when it is missing or has another
  /// shape.
  const TensorEntry& require(std::string_view name, const Shape& shape) const;

  /// Reads the elements of an F32, F64, F16 or BF16 tensor.
  /// @throws Error naming the file and the tensor when it is of another type, can't be read or doesn't match its CRC.
  std::vector<float> read_f32(const TensorEntry& tensor) const;
  /// Reads the elements of an I64 tensor. @throws Error as read_f32 does.
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

/// A tensor to be written, or found in a file. `values` is called when the tensor is needed, so that only one tensor at
/// a time is in memory.
struct TensorSource {
  std::string name;
  Shape shape;
  std::function<TensorValues()> values;
  DataType type = DataType::f32;  ///< f32 or s64: the type that `values` returns
};

/// Writes a safetensors file completely or not at all. I64 tensors come first, then the others in the given order:
/// PyTorch views elements in place, which requires each to be aligned to its size.
/// If the file is a pipe or a device, `values` is called twice for each tensor, because the CRCs precede the values.
/// @throws Error naming the file and the tensor when names repeat or a source returns values that don't fit its shape
///   or type; naming the file when `metadata` have the key `crc32c`, and with the system's reason when it can't be
///   written.
void write_safetensors(const std::filesystem::path& file, const Metadata& metadata,
                       const std::vector<TensorSource>& tensors);

}  // namespace facet::formats
