#include "facet/model_file.h"

#include <fmt/format.h>

#include <set>
#include <utility>

#include "facet/error.h"
#include "interchange/model_file_with_state.h"
#include "interchange/model_metadata.h"
#include "interchange/safetensors_header.h"

namespace facet {
namespace interchange {
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

/// Every parameter's tensor, in the parameters' order, and no other.
std::vector<const TensorEntry*> match(const SafetensorsReader& reader, const Parameters& parameters) {
  std::vector<const TensorEntry*> matched;
  std::set<std::string_view> wanted;
  for (const Parameter& parameter : parameters.list()) {
    const TensorEntry& tensor = reader.require(parameter.name, parameter.shape);
    if ((parameter.type == DataType::s64) != (tensor.type == ElementType::s64)) {
      throw Error(fmt::format("{}: tensor {} has the dtype {}; {} is wanted", reader.name(), in_quotes(tensor.name),
                              to_string(tensor.type), parameter.type == DataType::s64 ? "I64" : "F32, F16 or BF16"));
    }
    matched.push_back(&tensor);
    wanted.insert(parameter.name);
  }
  for (const TensorEntry& tensor : reader.tensors()) {
    if (!wanted.contains(tensor.name)) {
      throw Error(fmt::format("{}: tensor {} is none of the model's", reader.name(), in_quotes(tensor.name)));
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
          fmt::format("{}: its metadata can't hold `{}` as state: the model's own is there", file.string(), key));
    }
  }
  std::vector<TensorSource> tensors;
  for (int index = 0; index < static_cast<int>(parameters.list().size()); ++index) {
    tensors.push_back(source_of(parameters, index));
  }
  write_safetensors(file, metadata, tensors);
}

ModelInfo model_info_of(const SafetensorsReader& reader) { return to_model_info(reader.name(), reader.metadata()); }

void load_weights(const SafetensorsReader& reader, Parameters& parameters) {
  const std::vector<const TensorEntry*> tensors = match(reader, parameters);
  for (int index = 0; index < static_cast<int>(tensors.size()); ++index) {
    const TensorEntry& tensor = *tensors[static_cast<std::size_t>(index)];
    if (tensor.type == ElementType::s64) {
      parameters.set_counter(index, reader.read_s64(tensor).at(0));
    } else {
      parameters.set(index, reader.read_f32(tensor));
    }
  }
}

}  // namespace interchange

void save_model(const std::filesystem::path& file, const ModelInfo& info, const Parameters& parameters) {
  interchange::write_model_file(file, info, parameters, {});
}

ModelInfo read_model_info(const std::filesystem::path& file) {
  return interchange::model_info_of(interchange::SafetensorsReader(file));
}

void load_weights(const std::filesystem::path& file, Parameters& parameters) {
  interchange::load_weights(interchange::SafetensorsReader(file), parameters);
}

}  // namespace facet
