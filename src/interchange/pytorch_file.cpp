#include "interchange/pytorch_file.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "facet/error.h"
#include "interchange/narrow_floats.h"
#include "interchange/pickled_state_dict.h"
#include "interchange/safetensors_header.h"
#include "interchange/zip_archive.h"

namespace facet::interchange {
namespace {

static_assert(std::endian::native == std::endian::little, "storages are little-endian, and read as they lie");

constexpr std::uint64_t max_pickle_bytes = std::uint64_t{64} << 20;
/// Elements of a storage that are read for one of a tensor's: strides may pick a few of many.
constexpr std::int64_t most_apart = 64;

/// The archive's one folder, with a slash: all entries lie in it, the pickle as data.pkl.
std::string folder_of(const ZipArchive& archive) {
  std::string folder;
  for (const auto& [name, bytes] : archive.entries()) {
    const std::size_t slash = name.find('/');
    if (slash == std::string::npos || name.substr(slash) != "/data.pkl") continue;
    if (!folder.empty()) throw Error(fmt::format("{}: its zip archive holds more than one data.pkl", archive.name()));
    folder = name.substr(0, slash + 1);
  }
  if (folder.empty()) {
    throw Error(fmt::format("{}: its zip archive holds no data.pkl: torch.save didn't write it", archive.name()));
  }
  if (archive.entries().contains(folder + "constants.pkl")) {
    throw Error(fmt::format("{}: holds a TorchScript program; save a plain state_dict by torch.save", archive.name()));
  }
  return folder;
}

std::vector<std::byte> read_whole(const ZipArchive& archive, const std::string& entry, std::uint64_t most) {
  const std::uint64_t bytes = archive.entries().at(entry);
  if (bytes > most) {
    throw Error(fmt::format("{}: {} in its zip archive has {} bytes; at most {} are read", archive.name(),
                            in_quotes(entry), bytes, most));
  }
  std::vector<std::byte> content(bytes);
  archive.read(entry, 0, content);
  return content;
}

void require_little_endian(const ZipArchive& archive, const std::string& entry) {
  constexpr std::string_view little = "little";
  if (!archive.entries().contains(entry)) return;
  const std::vector<std::byte> content = read_whole(archive, entry, 64);
  const std::string_view text(reinterpret_cast<const char*>(content.data()), content.size());
  if (text != little) {
    throw Error(
        fmt::format("{}: its byte order is {}; {} is read", archive.name(), in_quotes(text), in_quotes(little)));
  }
}

/// Calls take(i) with the place in the storage, from the tensor's first element, of each element in row-major order.
template <class Take>
void for_each_element(const PickledTensor& tensor, const Take& take) {
  const std::int64_t count = element_count(tensor.shape);
  Shape at(tensor.shape.size(), 0);
  std::int64_t place = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    take(place);
    for (std::size_t axis = at.size(); axis-- > 0;) {
      place += tensor.strides[axis];
      if (++at[axis] < tensor.shape[axis]) break;
      place -= at[axis] * tensor.strides[axis];
      at[axis] = 0;
    }
  }
}

template <class Stored, class Value, class Convert>
std::vector<Value> gather(const PickledTensor& tensor, const std::vector<std::byte>& bytes, const Convert& convert) {
  std::vector<Value> values;
  values.reserve(static_cast<std::size_t>(element_count(tensor.shape)));
  for_each_element(tensor, [&](std::int64_t place) {
    Stored stored;
    std::memcpy(&stored, bytes.data() + static_cast<std::size_t>(place) * sizeof stored, sizeof stored);
    values.push_back(convert(stored));
  });
  return values;
}

TensorValues read(const ZipArchive& archive, const std::string& entry, const PickledTensor& tensor) {
  const std::size_t size = size_of(tensor.type);
  const std::int64_t extent = tensor.extent();
  if (extent / most_apart > element_count(tensor.shape)) {
    throw Error(fmt::format("{}: tensor {} of shape {} is spread over {} elements; save its contiguous()",
                            archive.name(), in_quotes(tensor.name), facet::to_string(tensor.shape), extent));
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(extent) * size);
  if (extent > 0) archive.read(entry, static_cast<std::uint64_t>(tensor.offset) * size, bytes);
  const auto same = [](auto value) { return value; };
  switch (tensor.type) {
    case StorageType::f64:
      return gather<double, float>(tensor, bytes, [](double value) { return static_cast<float>(value); });
    case StorageType::f16:
      return gather<std::uint16_t, float>(tensor, bytes, from_f16);
    case StorageType::bf16:
      return gather<std::uint16_t, float>(tensor, bytes, from_bf16);
    case StorageType::s64:
      return gather<std::int64_t, std::int64_t>(tensor, bytes, same);
    case StorageType::f32:
      break;
  }
  return gather<float, float>(tensor, bytes, same);
}

void require_storage(const ZipArchive& archive, const std::string& entry, const PickledTensor& tensor) {
  const auto found = archive.entries().find(entry);
  if (found == archive.entries().end()) {
    throw Error(fmt::format("{}: tensor {} lies in {}, which is missing in its zip archive", archive.name(),
                            in_quotes(tensor.name), in_quotes(entry)));
  }
  const std::uint64_t size = size_of(tensor.type);
  const auto elements = static_cast<std::uint64_t>(tensor.storage_elements);
  if (found->second % size != 0 || found->second / size != elements) {
    throw Error(fmt::format("{}: {} in its zip archive has {} bytes, and should hold {} elements of {}", archive.name(),
                            in_quotes(entry), found->second, elements, size));
  }
}

}  // namespace

std::vector<TensorSource> open_pytorch_file(const std::filesystem::path& file) {
  const auto archive = std::make_shared<const ZipArchive>(file);
  const std::string folder = folder_of(*archive);
  require_little_endian(*archive, folder + "byteorder");
  std::vector<TensorSource> sources;
  for (PickledTensor& tensor :
       read_state_dict(archive->name(), read_whole(*archive, folder + "data.pkl", max_pickle_bytes))) {
    const std::string entry = folder + "data/" + tensor.storage;
    require_storage(*archive, entry, tensor);
    TensorSource source{.name = tensor.name, .shape = tensor.shape, .values = {}};
    source.type = tensor.type == StorageType::s64 ? DataType::s64 : DataType::f32;
    source.values = [archive, entry, tensor = std::move(tensor)] { return read(*archive, entry, tensor); };
    sources.push_back(std::move(source));
  }
  return sources;
}

}  // namespace facet::interchange
