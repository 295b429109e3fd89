#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <span>
#include <utility>

#include "base/crc32c.h"
#include "facet/error.h"
#include "interchange/narrow_floats.h"
#include "interchange/safetensors.h"
#include "interchange/safetensors_header.h"

namespace facet::interchange {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian, and read as it lies");

std::size_t count_of(const TensorEntry& tensor) {
  return static_cast<std::size_t>((tensor.end - tensor.begin) / size_of(tensor.type));
}

}  // namespace

SafetensorsReader::SafetensorsReader(const std::filesystem::path& file) : file_(file) {
  std::uint64_t length = 0;
  if (file_.size() < sizeof(length)) {
    throw Error(fmt::format("{}: is {} bytes long, too short for a safetensors file", name(), file_.size()));
  }
  file_.read(0, std::as_writable_bytes(std::span(&length, 1)));
  if (length > max_header_bytes) {
    throw Error(fmt::format("{}: its header claims {} bytes, at most {} are read; is it a safetensors file?", name(),
                            length, max_header_bytes));
  }
  data_begin_ = sizeof(length) + length;
  if (data_begin_ > file_.size()) {
    throw Error(fmt::format("{}: its header claims {} bytes, but the file has {} in all; is it cut off?", name(),
                            length, file_.size()));
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
  if (found == nullptr) throw Error(fmt::format("{}: has no tensor {}", name(), in_quotes(tensor)));
  if (found->shape != shape) {
    throw Error(fmt::format("{}: tensor {} has the shape {}, {} is wanted", name(), in_quotes(tensor),
                            facet::to_string(found->shape), facet::to_string(shape)));
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
    throw Error(fmt::format("{}: tensor {} has the dtype {}; F32, F64, F16 or BF16 is wanted", name(),
                            in_quotes(tensor.name), to_string(tensor.type)));
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
                   tensor.type == ElementType::f16 ? from_f16 : from_bf16);
  }
  check(tensor, crc);
  return values;
}

std::vector<std::int64_t> SafetensorsReader::read_s64(const TensorEntry& tensor) const {
  if (tensor.type != ElementType::s64) {
    throw Error(fmt::format("{}: tensor {} has the dtype {}; I64 is wanted", name(), in_quotes(tensor.name),
                            to_string(tensor.type)));
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
  throw Error(fmt::format("{}: is damaged: tensor {} has the CRC-32C {}, it was written with {}", name(),
                          in_quotes(tensor.name), crc32c_digits(found), crc32c_digits(*tensor.crc32c)));
}

}  // namespace facet::interchange
