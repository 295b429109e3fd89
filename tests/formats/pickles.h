#pragma once

#include <zip.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "testing.h"

/// Pickles and zip archives as torch.save writes them, built by hand so that they can be invalid.
namespace pickles {

template <class Number>
std::string bytes_of(Number number) {
  std::string bytes(sizeof number, '\0');
  std::memcpy(bytes.data(), &number, sizeof number);
  return bytes;
}

inline const std::string proto = "\x80\x02";
inline std::string text(const std::string& value) {
  return std::string("X") + bytes_of(static_cast<std::uint32_t>(value.size())) + value;
}
inline std::string integer(std::int64_t value) {
  return value == static_cast<std::int32_t>(value) ? std::string("J") + bytes_of(static_cast<std::int32_t>(value))
                                                   : std::string("\x8a\x08") + bytes_of(value);
}
inline std::string global(const std::string& module, const std::string& name) {
  return std::string("c") + module + "\n" + name + "\n";
}
inline std::string integers(const std::vector<std::int64_t>& values) {
  std::string all = "(";
  for (const std::int64_t value : values) all += integer(value);
  return all + "t";
}

struct Tensor {
  std::vector<std::int64_t> shape, strides;
  std::int64_t elements;  ///< of its storage
  std::int64_t offset = 0;
  std::string storage = "0", type = "FloatStorage";
};

inline std::string storage(const Tensor& tensor) {
  return std::string("(") + text("storage") + global("torch", tensor.type) + text(tensor.storage) + text("cpu") +
         integer(tensor.elements) + "tQ";
}
inline std::string tensor(const Tensor& tensor) {
  return global("torch._utils", "_rebuild_tensor_v2") + "(" + storage(tensor) + integer(tensor.offset) +
         integers(tensor.shape) + integers(tensor.strides) + "\x89" + global("collections", "OrderedDict") + ")RtR";
}
inline std::string dictionary(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string all = "}(";
  for (const auto& [name, value] : items) all += text(name) + value;
  return all + "u";
}
/// An object of a class (or the result of a call), with arguments.
inline std::string call(const std::string& module, const std::string& name, const std::string& arguments) {
  return global(module, name) + "(" + arguments + "tR";
}
inline std::string whole(const std::string& value) { return proto + value + "."; }

/// A storage of a file from before PyTorch 1.6.
struct LegacyStorage {
  std::string key;
  std::int64_t elements;
  std::string bytes;
};

/// A file as torch.save wrote it before PyTorch 1.6.
inline std::string legacy_file(const std::string& object, const std::vector<LegacyStorage>& storages) {
  std::string file = whole("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") + whole(integer(1001)) +
                     whole(dictionary({{"little_endian", "\x88"}})) + whole(object);
  std::string keys = "](", data;
  for (const LegacyStorage& storage : storages) {
    keys += text(storage.key);
    data += bytes_of(storage.elements) + storage.bytes;
  }
  return file + whole(keys + "e") + data;
}

struct Entry {
  std::string name, content;
  bool deflated = false;
};

inline void write_zip(const std::filesystem::path& file, const std::vector<Entry>& entries) {
  zip_t* archive = ::zip_open(file.c_str(), ZIP_CREATE | ZIP_TRUNCATE, nullptr);
  if (archive == nullptr) throw std::runtime_error("no zip archive can be made");
  for (const Entry& entry : entries) {
    zip_source_t* source = ::zip_source_buffer(archive, entry.content.data(), entry.content.size(), 0);
    const zip_int64_t index = ::zip_file_add(archive, entry.name.c_str(), source, 0);
    ::zip_set_file_compression(archive, static_cast<zip_uint64_t>(index),
                               entry.deflated ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0);
  }
  if (::zip_close(archive) != 0) throw std::runtime_error("no zip archive can be written");
}

/// Changes an entry's sizes in an archive's central directory.
inline void claim_sizes(const std::filesystem::path& file, const std::string& entry, std::uint32_t packed,
                        std::uint32_t unpacked) {
  constexpr std::size_t sizes_at = 20, name_at = 46;
  std::string archive = facet::read_file(file);
  archive.replace(archive.rfind(entry) - name_at + sizes_at, 2 * sizeof packed, bytes_of(packed) + bytes_of(unpacked));
  facet::write_file(file, archive);
}

inline std::string floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

}  // namespace pickles
