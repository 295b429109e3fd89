#include "formats/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "base/bf16.h"
#include "base/files.h"
#include "facet/error.h"
#include "facet/files.h"
#include "formats/narrow_floats.h"
#include "formats/safetensors_header.h"

namespace facet::formats {

namespace {

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian, and read as it lies");

std::size_t count_of(const TensorEntry& tensor) {
  return static_cast<std::size_t>((tensor.end - tensor.begin) / size_of(tensor.type));
}

}  // namespace

SafetensorsReader::SafetensorsReader(const std::filesystem::path& file) : file_(file) {
  std::uint64_t length = 0;
  if (file_.size() < sizeof(length)) {
    throw Error(fmt::format("{}: the file has {} bytes and is too short for a safetensors file", name(), file_.size()),
                ErrorCode::invalid_data);
  }
  file_.read(0, std::as_writable_bytes(std::span(&length, 1)));
  if (length > max_header_bytes) {
    throw Error(fmt::format("{}: its header claims {} bytes; at most {} are allowed; is it a safetensors file?", name(),
                            length, max_header_bytes),
                ErrorCode::invalid_data);
  }
  data_begin_ = sizeof(length) + length;
  if (data_begin_ > file_.size()) {
    throw Error(fmt::format("{}: its header claims {} bytes, but the file has {} in all; is it cut off?", name(),
                            length, file_.size()),
                ErrorCode::invalid_data);
  }
  std::string text(length, '\0');
  file_.read(sizeof(length), std::as_writable_bytes(std::span(text)));
  SafetensorsHeader header = parse_header(name(), text, file_.size() - data_begin_);
  metadata_ = std::move(header.metadata);
  tensors_ = std::move(header.tensors);
  for (std::size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].name, i);
}

const TensorEntry* SafetensorsReader::find(std::string_view tensor) const {
  const auto found = index_.find(tensor);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

const TensorEntry& SafetensorsReader::require(std::string_view tensor, const Shape& shape) const {
  const TensorEntry* found = find(tensor);
  if (found == nullptr)
    throw Error(fmt::format("{}: the file has no tensor {}", name(), in_quotes(tensor)), ErrorCode::invalid_data);
  if (found->shape != shape) {
    throw Error(fmt::format("{}: tensor {} has the shape {}; {} is needed", name(), in_quotes(tensor),
                            facet::to_string(found->shape), facet::to_string(shape)),
                ErrorCode::invalid_data);
  }
  return *found;
}

std::vector<float> SafetensorsReader::read_f32(const TensorEntry& tensor) const {
  if (tensor.type == ElementType::f16 || tensor.type == ElementType::bf16) return read_16_bit(tensor);
  if (tensor.type == ElementType::f64) {
    const std::vector<double> values = read_whole<double>(tensor);
    return {values.begin(), values.end()};
  }
  if (tensor.type != ElementType::f32) {
    throw Error(fmt::format("{}: tensor {} has the dtype {}; F32, F64, F16 or BF16 is needed", name(),
                            in_quotes(tensor.name), to_string(tensor.type)),
                ErrorCode::invalid_data);
  }
  return read_whole<float>(tensor);
}

std::vector<float> SafetensorsReader::read_16_bit(const TensorEntry& tensor) const {
  constexpr std::size_t piece = 65536;
  std::vector<float> values(count_of(tensor));
  std::vector<std::uint16_t> bits(std::min(piece, values.size()));
  std::uint32_t crc = 0;
  for (std::size_t first = 0; first < values.size(); first += piece) {
    const std::span<std::uint16_t> part = std::span(bits).first(std::min(piece, values.size() - first));
    file_.read(data_begin_ + tensor.begin + first * sizeof(std::uint16_t), std::as_writable_bytes(part));
    crc = base::crc32c(std::as_bytes(part), crc);
    std::transform(part.begin(), part.end(), values.begin() + static_cast<std::ptrdiff_t>(first),
                   tensor.type == ElementType::f16 ? from_f16 : base::from_bf16);
  }
  check(tensor, crc);
  return values;
}

std::vector<std::int64_t> SafetensorsReader::read_s64(const TensorEntry& tensor) const {
  if (tensor.type != ElementType::s64) {
    throw Error(fmt::format("{}: tensor {} has the dtype {}; I64 is needed", name(), in_quotes(tensor.name),
                            to_string(tensor.type)),
                ErrorCode::invalid_data);
  }
  return read_whole<std::int64_t>(tensor);
}

template <class Element>
std::vector<Element> SafetensorsReader::read_whole(const TensorEntry& tensor) const {
  std::vector<Element> values(count_of(tensor));
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(values));
  file_.read(data_begin_ + tensor.begin, bytes);
  check(tensor, base::crc32c(bytes));
  return values;
}

void SafetensorsReader::check(const TensorEntry& tensor, std::uint32_t found) const {
  if (!tensor.crc32c || *tensor.crc32c == found) return;
  throw Error(fmt::format("{}: the file is damaged: tensor {} has the CRC-32C {}, but was written with {}", name(),
                          in_quotes(tensor.name), crc32c_digits(found), crc32c_digits(*tensor.crc32c)),
              ErrorCode::invalid_data);
}

namespace {

ElementType type_of(const TensorSource& tensor) {
  return tensor.type == DataType::s64 ? ElementType::s64 : ElementType::f32;
}

/// Returns the tensors in the order of writing: the largest element type first, otherwise as given.
std::vector<const TensorSource*> in_order_of_writing(const std::vector<TensorSource>& tensors) {
  std::vector<const TensorSource*> order;
  for (const TensorSource& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const TensorSource* a, const TensorSource* b) {
    return size_of(type_of(*a)) > size_of(type_of(*b));
  });
  return order;
}

/// Returns the CRCs as the metadata hold them. The length of the text doesn't depend on the CRCs.
std::string checksums_text(const Metadata& metadata, const std::vector<const TensorSource*>& tensors,
                           const std::vector<std::uint32_t>& crcs) {
  nlohmann::ordered_json checksums = nlohmann::ordered_json::object();
  auto& members = checksums.get_ref<nlohmann::ordered_json::object_t&>();  // see header_text
  members.emplace_back(metadata_key, crc32c_digits(crc32c_of(metadata)));
  for (std::size_t i = 0; i < tensors.size(); ++i) members.emplace_back(tensors[i]->name, crc32c_digits(crcs[i]));
  return checksums.dump();
}

/// Returns the header's text, padded to a multiple of 8 bytes. Its length doesn't depend on the tensors' CRCs.
std::string header_text(const std::string& file, const Metadata& metadata,
                        const std::vector<const TensorSource*>& tensors, const std::vector<std::uint32_t>& crcs) {
  nlohmann::ordered_json root = nlohmann::ordered_json::object();
  std::vector<std::string> names{std::string(metadata_key)};
  if (metadata.contains(std::string(crc32c_key))) {
    throw Error(fmt::format("{}: its metadata can't have the key `{}`, which holds the CRC-32Cs of the tensors", file,
                            crc32c_key));
  }
  root[names[0]] = metadata;
  std::uint64_t position = 0;
  // The object is filled through its vector: ordered_json's own look-up is linear.
  auto& members = root.get_ref<nlohmann::ordered_json::object_t&>();
  for (const TensorSource* tensor : tensors) {
    const std::uint64_t end =
        position + static_cast<std::uint64_t>(element_count(tensor->shape)) * size_of(type_of(*tensor));
    members.emplace_back(tensor->name, nlohmann::ordered_json{{"dtype", to_string(type_of(*tensor))},
                                                              {"shape", tensor->shape},
                                                              {"data_offsets", {position, end}}});
    names.push_back(tensor->name);
    position = end;
  }
  std::sort(names.begin(), names.end());
  const auto repeated = std::adjacent_find(names.begin(), names.end());
  if (repeated != names.end()) throw Error(fmt::format("{}: two tensors are called {}", file, in_quotes(*repeated)));

  std::string text;
  try {
    root[names[0]][std::string(crc32c_key)] = checksums_text(metadata, tensors, crcs);
    text = root.dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(fmt::format("{}: can't be written: a tensor's name or a string of its metadata is not UTF-8", file));
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > max_header_bytes) {
    throw Error(fmt::format("{}: can't be written: its header would take {} bytes; at most {} are allowed", file,
                            text.size(), max_header_bytes));
  }
  return text;
}

/// Calls `each` with the bytes of the tensor's values.
template <class Each>
void with_bytes(const std::string& file, const TensorSource& tensor, const Each& each) {
  const auto check = [&](const auto& values) {
    if (sizeof values[0] != size_of(type_of(tensor)) ||
        static_cast<std::int64_t>(values.size()) != element_count(tensor.shape)) {
      throw Error(fmt::format("{}: tensor {} of shape {} has {} values of {} bytes, which don't fit its shape and type",
                              file, in_quotes(tensor.name), facet::to_string(tensor.shape), values.size(),
                              sizeof values[0]));
    }
    each(std::as_bytes(std::span(values)));
  };
  std::visit(check, tensor.values());
}

}  // namespace

void write_safetensors(const std::filesystem::path& file, const Metadata& metadata,
                       const std::vector<TensorSource>& tensors) {
  const std::vector<const TensorSource*> order = in_order_of_writing(tensors);
  std::vector<std::uint32_t> crcs(order.size(), 0);
  std::string header = header_text(file.string(), metadata, order, crcs);
  AtomicFile output(file);
  if (output.writes_directly()) {
    for (std::size_t i = 0; i < order.size(); ++i) {
      with_bytes(file.string(), *order[i], [&](std::span<const std::byte> bytes) { crcs[i] = base::crc32c(bytes); });
    }
    header = header_text(file.string(), metadata, order, crcs);
  }
  const std::uint64_t length = header.size();
  output.write(std::as_bytes(std::span(&length, 1)));
  output.write(std::string_view(header));
  for (std::size_t i = 0; i < order.size(); ++i) {
    with_bytes(file.string(), *order[i], [&](std::span<const std::byte> bytes) {
      crcs[i] = base::crc32c(bytes);
      output.write(bytes);
    });
  }
  if (!output.writes_directly()) output.overwrite(sizeof(length), header_text(file.string(), metadata, order, crcs));
  output.commit();
}

}  // namespace facet::formats
