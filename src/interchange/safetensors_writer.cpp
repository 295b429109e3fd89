#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "base/atomic_file.h"
#include "base/crc32c.h"
#include "facet/error.h"
#include "interchange/safetensors.h"
#include "interchange/safetensors_header.h"

namespace facet::interchange {
namespace {

ElementType type_of(const TensorSource& tensor) {
  return tensor.type == DataType::s64 ? ElementType::s64 : ElementType::f32;
}

/// The largest elements first, otherwise in the order given.
std::vector<const TensorSource*> in_order_of_writing(const std::vector<TensorSource>& tensors) {
  std::vector<const TensorSource*> order;
  for (const TensorSource& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const TensorSource* a, const TensorSource* b) {
    return size_of(type_of(*a)) > size_of(type_of(*b));
  });
  return order;
}

/// As the metadata keep them; as long whatever the CRCs are.
std::string checksums_text(const Metadata& metadata, const std::vector<const TensorSource*>& tensors,
                           const std::vector<std::uint32_t>& crcs) {
  nlohmann::ordered_json checksums = nlohmann::ordered_json::object();
  auto& members = checksums.get_ref<nlohmann::ordered_json::object_t&>();  // see below
  members.emplace_back(metadata_key, crc32c_digits(crc32c_of(metadata)));
  for (std::size_t i = 0; i < tensors.size(); ++i) members.emplace_back(tensors[i]->name, crc32c_digits(crcs[i]));
  return checksums.dump();
}

/// The header's text, padded to a multiple of 8 bytes: as long whatever the CRCs of the tensors are.
std::string header_text(const std::string& file, const Metadata& metadata,
                        const std::vector<const TensorSource*>& tensors, const std::vector<std::uint32_t>& crcs) {
  nlohmann::ordered_json root = nlohmann::ordered_json::object();
  std::vector<std::string> names{std::string(metadata_key)};
  if (metadata.contains(std::string(crc32c_key))) {
    throw Error(fmt::format("{}: its metadata can't hold `{}`: the tensors' are there", file, crc32c_key));
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
    throw Error(fmt::format("{}: can't be written: its header would take {} bytes, at most {} are allowed", file,
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
      throw Error(fmt::format("{}: tensor {} of shape {} was given {} values of {} bytes", file, in_quotes(tensor.name),
                              facet::to_string(tensor.shape), values.size(), sizeof values[0]));
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
  base::AtomicFile output(file);
  if (output.at_once()) {
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
  if (!output.at_once()) output.overwrite(sizeof(length), header_text(file.string(), metadata, order, crcs));
  output.commit();
}

}  // namespace facet::interchange
