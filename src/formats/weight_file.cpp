#include "formats/weight_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <numeric>
#include <span>
#include <utility>

#include "facet/error.h"
#include "formats/model_file.h"
#include "formats/pickled_state_dict.h"
#include "formats/pytorch_file.h"
#include "formats/safetensors_header.h"

namespace facet::formats {
namespace {

constexpr std::array<std::string_view, 3> wrappers{"module.", "model.", "_orig_mod."};
constexpr int max_wrappers = 8;          // of one tensor, nested
constexpr std::size_t max_name = 1'000;  // bytes of a tensor's name

WeightFile open_safetensors(const std::filesystem::path& file) {
  const auto reader = std::make_shared<const SafetensorsReader>(file);
  WeightFile opened{.name = reader->name(), .has_shape = reader->metadata().contains("shape")};
  if (const auto format = reader->metadata().find("format");
      format != reader->metadata().end() && format->second == model_file_format) {
    opened.heads = model_info_of(*reader).heads;
  }
  for (const TensorEntry& tensor : reader->tensors()) {
    const bool whole = tensor.type == ElementType::s64;
    opened.tensors.push_back({.name = tensor.name,
                              .shape = tensor.shape,
                              .values = [reader, &tensor, whole]() -> TensorValues {
                                if (whole) return reader->read_s64(tensor);
                                return reader->read_f32(tensor);
                              },
                              .type = whole ? DataType::s64 : DataType::f32});
  }
  return opened;
}

WeightFile open_pytorch(const std::filesystem::path& file) {
  PyTorchFile opened = open_pytorch_file(file);
  return {.name = file.string() + opened.path, .tensors = std::move(opened.tensors)};
}

WeightFile open(const std::filesystem::path& file) {
  constexpr std::size_t tar_magic_at = 257;
  constexpr std::string_view tar_magic = "ustar";
  std::array<char, tar_magic_at + tar_magic.size()> first{};
  {
    const ReadableFile readable(file);
    readable.read(
        0, std::as_writable_bytes(std::span(first)).first(std::min<std::uint64_t>(readable.size(), first.size())));
  }
  const std::string_view begin(first.data(), first.size());
  if (begin[8] == '{') return open_safetensors(file);  // after the header's length
  if (begin.starts_with("PK") || begin.starts_with('\x80')) return open_pytorch(file);
  if (begin.substr(tar_magic_at) == tar_magic) {
    throw Error(
        fmt::format(
            "{}: the file is a tar archive, as PyTorch wrote before 0.1.10; load it with a later PyTorch and save its "
            "state_dict",
            file.string()),
        ErrorCode::invalid_data);
  }
  if (begin.starts_with('<')) {
    throw Error(fmt::format("{}: the file is a web page, not the weights, which the page may offer for download",
                            file.string()),
                ErrorCode::invalid_data);
  }
  throw Error(fmt::format("{}: the file is neither a safetensors file nor one that torch.save writes", file.string()),
              ErrorCode::invalid_data);
}

void require_limits(const WeightFile& file) {
  if (file.tensors.size() > max_tensors) {
    throw Error(
        fmt::format("{}: the file has {} tensors; at most {} are allowed", file.name, file.tensors.size(), max_tensors),
        ErrorCode::invalid_data);
  }
  for (const TensorSource& tensor : file.tensors) {
    if (tensor.name.size() <= max_name) continue;
    throw Error(fmt::format("{}: the name of a tensor has {} bytes ({}); at most {} are allowed", file.name,
                            tensor.name.size(), in_quotes(tensor.name), max_name),
                ErrorCode::invalid_data);
  }
}

void strip_wrappers(std::vector<TensorSource>& tensors, const std::vector<Parameter>& parameters) {
  if (tensors.empty()) return;
  std::size_t begin = 0;  // where the names without wrappers begin
  const auto is_in_the_way = [&](std::string_view prefix) {
    return std::all_of(tensors.begin(), tensors.end(),
                       [&](const TensorSource& tensor) {
                         return std::string_view(tensor.name).substr(begin).starts_with(prefix);
                       }) &&
           std::none_of(parameters.begin(), parameters.end(),
                        [&](const Parameter& parameter) { return parameter.name.starts_with(prefix); });
  };
  for (int i = 0; i < max_wrappers; ++i) {
    const auto* const prefix = std::find_if(wrappers.begin(), wrappers.end(), is_in_the_way);
    if (prefix == wrappers.end()) break;
    begin += prefix->size();
  }
  for (TensorSource& tensor : tensors) tensor.name.erase(0, begin);
}

/// Returns "denselayer1.norm1.weight" for "denselayer1.norm.1.weight": until 0.4, PyTorch allowed dots within the name
/// of a module.
std::string without_inner_dot(std::string name) {
  constexpr std::string_view layer = "denselayer";
  const std::size_t begin = name.rfind(layer);
  if (begin == std::string::npos) return name;
  const std::size_t end = name.find_first_not_of("0123456789", begin + layer.size());
  if (end == std::string::npos || end == begin + layer.size()) return name;
  for (const std::string_view part : {".norm.", ".relu.", ".conv."}) {
    const std::size_t digit = end + part.size();
    if (name.compare(end, part.size(), part) != 0 || digit + 1 >= name.size() || name[digit + 1] != '.') continue;
    if (name[digit] == '1' || name[digit] == '2') name.erase(digit - 1, 1);
    break;
  }
  return name;
}

const TensorSource* find(const WeightFile& file, const std::string& name) {
  const auto found = std::find_if(file.tensors.begin(), file.tensors.end(),
                                  [&](const TensorSource& tensor) { return tensor.name == name; });
  return found == file.tensors.end() ? nullptr : &*found;
}

/// Lists the last linear layers, since classifiers come last: "fc (18 rows)".
std::string linear_layers(const WeightFile& file) {
  constexpr int max_listed = 5;
  std::string text;
  int count = 0;
  for (auto tensor = file.tensors.rbegin(); tensor != file.tensors.rend() && count < max_listed; ++tensor) {
    if (!tensor->name.ends_with(".weight") || tensor->shape.size() != 2) continue;
    text +=
        fmt::format("{}{} ({} rows)", count++ == 0 ? "" : ", ", in_quotes(layer_of(tensor->name)), tensor->shape[0]);
  }
  return count == 0 ? "it has no linear layer" : "its last linear layers are " + text;
}

std::string rows_text(std::int64_t first, std::int64_t last) {
  return first == last ? std::to_string(first) : fmt::format("{}-{}", first, last);
}

/// Returns the rows that belong to no head, as text: "4-6".
std::string unused_rows(const HeadSplit& split, std::int64_t rows) {
  std::vector<std::pair<std::int64_t, std::int64_t>> used;
  for (const HeadRows& part : split.heads) used.emplace_back(part.first, part.first + std::ssize(part.head.classes));
  used.emplace_back(rows, rows);
  std::sort(used.begin(), used.end());
  std::string text;
  std::int64_t next = 0;
  for (const auto& [first, end] : used) {
    if (first > next) text += (text.empty() ? "" : ", ") + rows_text(next, first - 1);
    next = std::max(next, end);
  }
  return text;
}

}  // namespace

WeightFile open_weights(const std::filesystem::path& file, const std::vector<Parameter>& parameters) {
  WeightFile opened = open(file);
  require_limits(opened);
  strip_wrappers(opened.tensors, parameters);
  for (TensorSource& tensor : opened.tensors) tensor.name = without_inner_dot(std::move(tensor.name));
  return opened;
}

std::string layer_of(std::string_view tensor) { return std::string(tensor.substr(0, tensor.rfind('.'))); }

std::vector<int> logits_parameters(const Graph& graph, std::string_view head) {
  for (const HeadOutput& output : graph.heads()) {
    if (output.name != head) continue;
    std::vector<int> found = graph.nodes()[static_cast<std::size_t>(output.logits)].parameters;
    const bool has_row_per_class = std::all_of(found.begin(), found.end(), [&](int parameter) {
      const Shape& shape = graph.parameters()[static_cast<std::size_t>(parameter)].shape;
      return !shape.empty() && shape[0] == output.classes;
    });
    return has_row_per_class ? found : std::vector<int>();
  }
  return {};
}

TensorSource take_rows(const TensorSource& tensor, const std::string& name, std::vector<std::int64_t> rows) {
  TensorSource taken{.name = name, .shape = tensor.shape, .values = {}};
  taken.shape.at(0) = std::ssize(rows);
  const std::int64_t row_size = tensor.shape[0] == 0 ? 0 : element_count(tensor.shape) / tensor.shape[0];
  taken.values = [values = tensor.values, rows = std::move(rows), row_size]() -> TensorValues {
    const TensorValues found = values();
    const auto& all = std::get<std::vector<float>>(found);
    std::vector<float> some;
    some.reserve(rows.size() * static_cast<std::size_t>(row_size));
    for (const std::int64_t row : rows) {
      some.insert(some.end(), all.begin() + row * row_size, all.begin() + (row + 1) * row_size);
    }
    return some;
  };
  return taken;
}

std::string split_layer(WeightFile& file, const HeadSplit& split, const Graph& graph) {
  if (split.layer.empty()) {
    if (split.heads.empty()) return "";
    throw Error(
        fmt::format("{}: the head {} is given rows, but no layer is named; the name of a linear layer is needed",
                    file.name, in_quotes(split.heads.front().head.name)));
  }
  const std::string weight_name = split.layer + ".weight", bias_name = split.layer + ".bias";
  const TensorSource* const weight = find(file, weight_name);
  if (weight == nullptr || weight->shape.size() != 2 || weight->type != DataType::f32) {
    throw Error(fmt::format("{}: the file has no linear layer {} to split; {}", file.name, in_quotes(split.layer),
                            linear_layers(file)));
  }
  const std::int64_t rows = weight->shape[0];
  if (rows > max_head_rows) {
    throw Error(fmt::format("{}: {} has {} rows; at most {} are allowed in a layer to split", file.name,
                            in_quotes(split.layer), rows, max_head_rows),
                ErrorCode::invalid_data);
  }
  const TensorSource* const bias = find(file, bias_name);
  if (bias != nullptr && (bias->shape != Shape{rows} || bias->type != DataType::f32)) {
    throw Error(fmt::format("{}: {} has the shape {}; {} is needed, as the layer has {} rows", file.name,
                            in_quotes(bias_name), facet::to_string(bias->shape), rows, rows),
                ErrorCode::invalid_data);
  }
  std::vector<TensorSource> parts;
  for (const HeadRows& part : split.heads) {
    constexpr std::int64_t max_row = std::numeric_limits<std::int64_t>::max();
    const std::int64_t count = std::ssize(part.head.classes);
    const std::int64_t last = part.first > max_row - count ? max_row : part.first + count - 1;
    if (part.first < 0 || last >= rows) {
      throw Error(fmt::format("{}: {} has rows 0-{}; head {} needs rows {}", file.name, in_quotes(split.layer),
                              rows - 1, in_quotes(part.head.name), rows_text(part.first, last)));
    }
    std::vector<std::int64_t> taken(part.head.classes.size());
    std::iota(taken.begin(), taken.end(), part.first);
    const std::vector<int> logits = logits_parameters(graph, part.head.name);
    const std::string layer = logits.empty()
                                  ? "heads." + part.head.name
                                  : layer_of(graph.parameters()[static_cast<std::size_t>(logits.front())].name);
    parts.push_back(take_rows(*weight, layer + ".weight", taken));
    if (bias != nullptr) parts.push_back(take_rows(*bias, layer + ".bias", taken));
    std::erase_if(file.heads, [&](const Head& head) { return head.name == part.head.name; });
    file.heads.push_back(part.head);
  }
  std::erase_if(file.tensors, [&](const TensorSource& tensor) {
    return tensor.name == weight_name || tensor.name == bias_name ||
           std::any_of(parts.begin(), parts.end(), [&](const TensorSource& part) { return part.name == tensor.name; });
  });
  file.tensors.insert(file.tensors.end(), parts.begin(), parts.end());
  return unused_rows(split, rows);
}

}  // namespace facet::formats
