#include "formats/pytorch_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/bf16.h"
#include "facet/error.h"
#include "formats/narrow_floats.h"
#include "formats/pickle.h"
#include "formats/pickled_state_dict.h"
#include "formats/readable_file.h"
#include "formats/safetensors_header.h"
#include "formats/zip_archive.h"

namespace facet::formats {
namespace {

static_assert(std::endian::native == std::endian::little, "storages are little-endian, and read as they lie");

constexpr std::uint64_t max_pickle_bytes = std::uint64_t{64} << 20;
/// The maximum number of storage elements per tensor element, and of tensor elements per storage element in a large
/// tensor: strides may pick a few elements of many, or repeat a few.
constexpr std::int64_t max_apart = 64;
/// The number of elements up to which a tensor may repeat its storage's elements without limit, by strides of 0. That
/// many always fit into memory.
constexpr std::int64_t max_repeated = 1 << 24;

/// Returns the archive's only folder, with a slash. All entries lie in it, the pickle as data.pkl.
std::string folder_of(const ZipArchive& archive) {
  std::string folder;
  for (const std::string& name : archive.entries()) {
    const std::size_t slash = name.find('/');
    if (slash == std::string::npos || name.substr(slash) != "/data.pkl") continue;
    if (!folder.empty())
      throw Error(fmt::format("{}: its zip archive holds more than one data.pkl", archive.name()),
                  ErrorCode::invalid_data);
    folder = name.substr(0, slash + 1);
  }
  if (folder.empty()) {
    throw Error(fmt::format("{}: its zip archive holds no data.pkl: torch.save didn't write it", archive.name()),
                ErrorCode::invalid_data);
  }
  if (archive.entries().contains(folder + "constants.pkl")) {
    throw Error(fmt::format("{}: the file holds a TorchScript program; save a plain state_dict with torch.save",
                            archive.name()),
                ErrorCode::invalid_data);
  }
  return folder;
}

std::vector<std::byte> read_whole(const ZipArchive& archive, const std::string& entry, std::uint64_t max_bytes) {
  const std::uint64_t bytes = archive.size_of(entry);
  if (bytes > max_bytes) {
    throw Error(fmt::format("{}: {} in its zip archive has {} bytes; at most {} are read", archive.name(),
                            in_quotes(entry), bytes, max_bytes),
                ErrorCode::invalid_data);
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
    throw Error(fmt::format("{}: its byte order is {}; only {} is supported", archive.name(), in_quotes(text),
                            in_quotes(little)),
                ErrorCode::invalid_data);
  }
}

/// Calls take(i) for each element in row-major order, with its position in the storage relative to the tensor's first.
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

/// Fills a span from a tensor's storage, starting at a position in bytes.
using ReadStorage = std::function<void(std::uint64_t, std::span<std::byte>)>;

TensorValues read(const std::string& file, const PickledTensor& tensor, const ReadStorage& read_storage) {
  const std::size_t size = tensor.storage.element_size;
  const std::int64_t extent = tensor.extent();
  if (extent / max_apart > element_count(tensor.shape)) {
    throw Error(
        fmt::format("{}: tensor {} of shape {} is a view spread over {} elements; save tensor.contiguous() instead",
                    file, in_quotes(tensor.name), facet::to_string(tensor.shape), extent),
        ErrorCode::invalid_data);
  }
  if (const std::int64_t count = element_count(tensor.shape); count > max_repeated && count / max_apart > extent) {
    throw Error(
        fmt::format("{}: tensor {} of shape {} is a view that repeats {} elements; save tensor.contiguous() instead",
                    file, in_quotes(tensor.name), facet::to_string(tensor.shape), extent),
        ErrorCode::invalid_data);
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(extent) * size);
  if (extent > 0) read_storage(static_cast<std::uint64_t>(tensor.offset) * size, bytes);
  const auto same = [](auto value) { return value; };
  switch (tensor.storage.type) {
    case StorageType::f64:
      return gather<double, float>(tensor, bytes, [](double value) { return static_cast<float>(value); });
    case StorageType::f16:
      return gather<std::uint16_t, float>(tensor, bytes, from_f16);
    case StorageType::bf16:
      return gather<std::uint16_t, float>(tensor, bytes, base::from_bf16);
    case StorageType::s64:
      return gather<std::int64_t, std::int64_t>(tensor, bytes, same);
    case StorageType::f32:
    case StorageType::other:  // refused by read_state_dict
      break;
  }
  return gather<float, float>(tensor, bytes, same);
}

TensorSource make_source(const std::string& file, PickledTensor tensor, ReadStorage read_storage) {
  TensorSource source{.name = tensor.name, .shape = tensor.shape, .values = {}};
  source.type = tensor.storage.type == StorageType::s64 ? DataType::s64 : DataType::f32;
  source.values = [file, tensor = std::move(tensor), read_storage = std::move(read_storage)] {
    return read(file, tensor, read_storage);
  };
  return source;
}

// --- since 1.6: a zip archive ----------------------------------------------------------------------------------------

void require_entry(const ZipArchive& archive, const std::string& entry, const PickledTensor& tensor) {
  if (!archive.entries().contains(entry)) {
    throw Error(fmt::format("{}: tensor {} is stored in {}, which is missing in its zip archive", archive.name(),
                            in_quotes(tensor.name), in_quotes(entry)),
                ErrorCode::invalid_data);
  }
  const std::uint64_t bytes = archive.size_of(entry), size = tensor.storage.element_size;
  const auto elements = static_cast<std::uint64_t>(tensor.storage.elements);
  if (bytes % size != 0 || bytes / size != elements) {
    throw Error(fmt::format("{}: {} in its zip archive has {} bytes; {} elements of {} bytes are needed",
                            archive.name(), in_quotes(entry), bytes, elements, size),
                ErrorCode::invalid_data);
  }
}

PyTorchFile open_archive(const std::filesystem::path& file) {
  const auto archive = std::make_shared<const ZipArchive>(file);
  const std::string folder = folder_of(*archive);
  require_little_endian(*archive, folder + "byteorder");
  const std::vector<std::byte> bytes = read_whole(*archive, folder + "data.pkl", max_pickle_bytes);
  PickledStateDict found = read_state_dict(archive->name(), read_pickle(archive->name(), bytes));
  PyTorchFile opened{.path = std::move(found.path)};
  for (PickledTensor& tensor : found.tensors) {
    const std::string entry = folder + "data/" + tensor.storage.key;
    require_entry(*archive, entry, tensor);
    opened.tensors.push_back(make_source(
        archive->name(), std::move(tensor),
        [archive, entry](std::uint64_t offset, std::span<std::byte> part) { archive->read(entry, offset, part); }));
  }
  return opened;
}

// --- before 1.6: pickles, then the storages' bytes -------------------------------------------------------------------

constexpr std::string_view legacy_magic{"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10};
constexpr std::int64_t legacy_version = 1001;

/// Reads pickles that follow each other.
class PickleSequence {
 public:
  PickleSequence(const std::string& file, std::span<const std::byte> bytes) : file_(file), bytes_(bytes) {}

  Pickle next() {
    Pickle pickle = read_pickle(file_, bytes_.subspan(position_));
    position_ += pickle.size;
    return pickle;
  }
  std::size_t position() const { return position_; }

 private:
  const std::string& file_;
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
};

const PickleValue& root_of(const Pickle& pickle) { return pickle.values[static_cast<std::size_t>(pickle.root)]; }

/// Returns the position of each storage's elements in the file, in bytes. The storages follow each other from
/// `position` on, in the order of `keys`, each preceded by its number of elements.
/// @throws Error when a storage differs from the pickle's description of it.
std::map<std::string, std::uint64_t> place_storages(const ReadableFile& file,
                                                    const std::vector<PickledStorage>& storages, const Pickle& keys,
                                                    std::uint64_t position) {
  const auto refuse = [&](const std::string& key, const std::string& what) {
    throw Error(fmt::format("{}: its storage {} {}", file.name(), in_quotes(key), what), ErrorCode::invalid_data);
  };
  std::map<std::string_view, const PickledStorage*> by_key;
  for (const PickledStorage& storage : storages) by_key.emplace(storage.key, &storage);
  std::map<std::string, std::uint64_t> places;
  for (const int item : root_of(keys).items) {
    const std::string& key = keys.values[static_cast<std::size_t>(item)].text;
    const auto found = by_key.find(key);
    if (found == by_key.end()) refuse(key, "isn't described by its pickle");
    std::int64_t elements = 0;
    if (file.size() - position < sizeof elements) refuse(key, "is missing; is the file cut off?");
    file.read(position, std::as_writable_bytes(std::span(&elements, 1)));
    position += sizeof elements;
    const PickledStorage& storage = *found->second;
    if (elements != storage.elements) {
      refuse(key, fmt::format("has {} elements; its pickle describes {}", elements, storage.elements));
    }
    if (static_cast<std::uint64_t>(elements) > (file.size() - position) / storage.element_size) {
      refuse(key, fmt::format("with {} elements of {} bytes begins at byte {} of {}; is the file cut off?", elements,
                              storage.element_size, position, file.size()));
    }
    if (!places.emplace(key, position).second) refuse(key, "occurs twice");
    position += static_cast<std::uint64_t>(elements) * storage.element_size;
  }
  return places;
}

PyTorchFile open_legacy(const std::filesystem::path& path) {
  const auto file = std::make_shared<const ReadableFile>(path);
  std::vector<std::byte> bytes(std::min(file->size(), max_pickle_bytes));
  file->read(0, bytes);
  PickleSequence pickles(file->name(), bytes);
  if (const Pickle magic = pickles.next(); root_of(magic).text != legacy_magic) {
    throw Error(fmt::format("{}: the file is a pickle that torch.save didn't write", file->name()),
                ErrorCode::invalid_data);
  }
  if (const Pickle version = pickles.next(); root_of(version).integer != legacy_version) {
    throw Error(fmt::format("{}: the file has version {} of PyTorch's format; only {} is supported", file->name(),
                            root_of(version).integer, legacy_version),
                ErrorCode::invalid_data);
  }
  pickles.next();  // sizes of the writer's integer types, which storages don't depend on
  const Pickle object = pickles.next();
  PickledStateDict found = read_state_dict(file->name(), object);
  const std::vector<PickledStorage> storages = read_storages(file->name(), object);
  const Pickle keys = pickles.next();
  const std::map<std::string, std::uint64_t> places = place_storages(*file, storages, keys, pickles.position());
  PyTorchFile opened{.path = std::move(found.path)};
  for (PickledTensor& tensor : found.tensors) {
    const auto place = places.find(tensor.storage.key);
    if (place == places.end()) {
      throw Error(fmt::format("{}: tensor {} is stored in the storage {}, which is missing", file->name(),
                              in_quotes(tensor.name), in_quotes(tensor.storage.key)),
                  ErrorCode::invalid_data);
    }
    opened.tensors.push_back(
        make_source(file->name(), std::move(tensor),
                    [file, begin = place->second](std::uint64_t offset, std::span<std::byte> part) {
                      file->read(begin + offset, part);
                    }));
  }
  return opened;
}

}  // namespace

PyTorchFile open_pytorch_file(const std::filesystem::path& file) {
  std::array<char, 2> first{};
  const ReadableFile readable(file);
  if (readable.size() >= first.size()) readable.read(0, std::as_writable_bytes(std::span(first)));
  return std::string_view(first.data(), first.size()) == "PK" ? open_archive(file) : open_legacy(file);
}

}  // namespace facet::formats
