#include "facet/model_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <set>
#include <utility>

#include "facet/dataset.h"
#include "facet/error.h"
#include "formats/model_file.h"
#include "formats/safetensors_header.h"

namespace facet {
namespace formats {
namespace {

TensorSource source_of(const Parameters& parameters, int index) {
  const Parameter& parameter = parameters.list()[static_cast<std::size_t>(index)];
  TensorSource source{.name = parameter.name, .shape = parameter.shape, .values = {}, .type = parameter.type};
  if (parameter.type == DataType::s64) {
    source.values = [&parameters, index] { return std::vector<std::int64_t>{parameters.get_counter(index)}; };
  } else {
    source.values = [&parameters, index] { return parameters.get(index); };
  }
  return source;
}

/// Returns a source for each parameter, in the parameters' order.
std::vector<TensorSource> sources_of(const Parameters& parameters) {
  std::vector<TensorSource> sources;
  for (int index = 0; index < static_cast<int>(parameters.list().size()); ++index) {
    sources.push_back(source_of(parameters, index));
  }
  return sources;
}

/// Returns the tensor of each parameter, in the parameters' order.
/// @throws Error naming a tensor that is missing, doesn't fit its parameter or belongs to none.
std::vector<const TensorEntry*> match(const SafetensorsReader& reader, const Parameters& parameters) {
  std::vector<const TensorEntry*> matched;
  std::set<std::string_view> wanted;
  for (const Parameter& parameter : parameters.list()) {
    const TensorEntry& tensor = reader.require(parameter.name, parameter.shape);
    if ((parameter.type == DataType::s64) != (tensor.type == ElementType::s64)) {
      throw Error(
          fmt::format("{}: tensor {} has the dtype {}; {} is needed", reader.name(), in_quotes(tensor.name),
                      to_string(tensor.type), parameter.type == DataType::s64 ? "I64" : "F32, F64, F16 or BF16"),
          ErrorCode::invalid_data);
    }
    matched.push_back(&tensor);
    wanted.insert(parameter.name);
  }
  for (const TensorEntry& tensor : reader.tensors()) {
    if (!wanted.contains(tensor.name)) {
      throw Error(fmt::format("{}: tensor {} isn't in the model", reader.name(), in_quotes(tensor.name)),
                  ErrorCode::invalid_data);
    }
  }
  return matched;
}

}  // namespace

void write_model_file(const std::filesystem::path& file, const ModelInfo& info, const Parameters& parameters,
                      const Metadata& state) {
  Metadata metadata = to_metadata(file.string(), info);
  for (const auto& [key, value] : state) {
    if (!metadata.emplace(key, value).second) {
      throw Error(
          fmt::format("{}: the state can't have the key `{}`, which the model's metadata uses", file.string(), key));
    }
  }
  write_safetensors(file, metadata, sources_of(parameters));
}

ModelInfo model_info_of(const SafetensorsReader& reader) { return to_model_info(reader.name(), reader.metadata()); }

void load_weights(const SafetensorsReader& reader, Parameters& parameters) {
  const std::vector<const TensorEntry*> tensors = match(reader, parameters);
  for (int index = 0; index < static_cast<int>(tensors.size()); ++index) {
    const TensorEntry& tensor = *tensors[static_cast<std::size_t>(index)];
    if (tensor.type == ElementType::s64) {
      parameters.set_counter(index, reader.read_s64(tensor).at(0));
    } else {
      const std::vector<float> values = reader.read_f32(tensor);
      if (is_variance(tensor.name)) require_finite(reader.name(), tensor.name, values, true);
      parameters.set(index, values);
    }
  }
}

void require_finite(const std::string& file, std::string_view tensor, const std::vector<float>& values,
                    bool non_negative) {
  for (const float value : values) {
    if (std::isfinite(value) && (value >= 0 || !non_negative)) continue;
    throw Error(fmt::format("{}: tensor {} holds {}; {} are allowed", file, in_quotes(tensor), value,
                            non_negative ? "finite numbers of at least 0" : "finite numbers"),
                ErrorCode::invalid_data);
  }
}

bool is_variance(std::string_view tensor) { return tensor.substr(tensor.rfind('.') + 1) == "running_var"; }

}  // namespace formats

void save_model(const std::filesystem::path& file, const ModelInfo& info, const Parameters& parameters) {
  formats::write_model_file(file, info, parameters, {});
}

void save_weights(const std::filesystem::path& file, const ModelInfo& info, const Parameters& parameters,
                  std::string_view layer) {
  formats::Metadata metadata = formats::to_metadata(file.string(), info);
  metadata["format"] = "pt";
  metadata.erase("version");
  if (info.heads.size() != 1) {
    throw Error(fmt::format("{}: the heads {} found; a single head is needed, whose layer is called {}", file.string(),
                            fmt::join(names_of(info.heads), ", "), layer));
  }
  if (info.heads[0].ordinal) {
    throw Error(
        fmt::format("{}: the head {} is ordinal: its logits share their weights, for which the layer {} has no "
                    "place",
                    file.string(), info.heads[0].name, layer));
  }
  std::vector<formats::TensorSource> tensors = formats::sources_of(parameters);
  const std::string head = fmt::format("heads.{}.", info.heads[0].name);
  for (formats::TensorSource& tensor : tensors) {
    if (tensor.name.starts_with(head)) tensor.name = fmt::format("{}.{}", layer, tensor.name.substr(head.size()));
  }
  formats::write_safetensors(file, metadata, tensors);
}

ModelInfo read_model_info(const std::filesystem::path& file) {
  return formats::model_info_of(formats::SafetensorsReader(file));
}

std::map<std::string, std::string> read_metadata(const std::filesystem::path& file) {
  return formats::SafetensorsReader(file).metadata();
}

void load_weights(const std::filesystem::path& file, Parameters& parameters) {
  formats::load_weights(formats::SafetensorsReader(file), parameters);
}

}  // namespace facet
