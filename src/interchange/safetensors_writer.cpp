#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "base/atomic_file.h"
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

/// The header's text, padded to a multiple of 8 bytes.
std::string header_text(const std::string& file, const Metadata& metadata,
                        const std::vector<const TensorSource*>& tensors) {
  nlohmann::ordered_json root = nlohmann::ordered_json::object();
  std::vector<std::string> names{std::string(metadata_key)};
  if (!metadata.empty()) root[names[0]] = metadata;
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

}  // namespace

void write_safetensors(const std::filesystem::path& file, const Metadata& metadata,
                       const std::vector<TensorSource>& tensors) {
  const std::vector<const TensorSource*> order = in_order_of_writing(tensors);
  const std::string header = header_text(file.string(), metadata, order);
  base::AtomicFile output(file);
  const std::uint64_t length = header.size();
  output.write(std::as_bytes(std::span(&length, 1)));
  output.write(std::string_view(header));
  for (const TensorSource* tensor : order) {
    const auto write = [&](const auto& values) {
      if (sizeof values[0] != size_of(type_of(*tensor)) ||
          static_cast<std::int64_t>(values.size()) != element_count(tensor->shape)) {
        throw Error(fmt::format("{}: tensor {} of shape {} was given {} values of {} bytes", file.string(), in_quotes(tensor->name),
                                facet::to_string(tensor->shape), values.size(), sizeof values[0]));
      }
      output.write(std::as_bytes(std::span(values)));
    };
    std::visit(write, tensor->values());
  }
  output.commit();
}

}  // namespace facet::interchange
