#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "facet/error.h"
#include "formats/model_file.h"
#include "formats/safetensors_header.h"

namespace facet::formats {

namespace {

constexpr std::string_view metadata_version = "1";

/// JSON whose numbers are floats, so that they are written short and read back exactly.
using FloatJson = nlohmann::basic_json<std::map, std::vector, std::string, bool, std::int64_t, std::uint64_t, float>;

[[noreturn]] void fail(const std::string& file, const std::string& what, ErrorCode code = ErrorCode::invalid_data) {
  throw Error(fmt::format("{}: {}", file, what), code);
}

/// Validates `info`, on writing and on reading. @param code of the error.
void check(const std::string& file, const ModelInfo& info, ErrorCode code) {
  if (info.model.empty()) fail(file, "its model has no name", code);
  const auto is_allowed = [](int side) { return side >= 1 && side <= max_image_side; };
  if (!is_allowed(info.size.height) || !is_allowed(info.size.width)) {
    fail(file,
         fmt::format("its size is {}; 1 to {} is allowed for each side", facet::to_string(info.size), max_image_side),
         code);
  }
  if (info.resize == ResizeMode::cover) fail(file, "its resize mode is cover; squash or crop is allowed", code);
  if (info.heads.empty()) fail(file, "it has no heads", code);
  std::set<std::string_view> names;
  for (const Head& head : info.heads) {
    if (head.name.empty()) fail(file, "one of its heads has no name", code);
    if (!names.insert(head.name).second)
      fail(file, fmt::format("two of its heads are called {}", in_quotes(head.name)), code);
    if (head.classes.empty()) fail(file, fmt::format("its head {} has no classes", in_quotes(head.name)), code);
    std::set<std::string_view> classes;
    for (const std::string& name : head.classes) {
      if (!classes.insert(name).second) {
        fail(file, fmt::format("its head {} has the class {} twice", in_quotes(head.name), in_quotes(name)), code);
      }
    }
  }
  for (const float mean : info.normalization.mean) {
    if (!std::isfinite(mean)) fail(file, fmt::format("its mean holds {}; finite numbers are allowed", mean), code);
  }
  for (const float deviation : info.normalization.std) {
    if (!std::isfinite(deviation) || deviation <= 0) {
      fail(file, fmt::format("its std holds {}; numbers above 0 are allowed", deviation), code);
    }
  }
}

const std::string& value_of(const std::string& file, const Metadata& metadata, const std::string& key) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) fail(file, fmt::format("its metadata has no `{}`", key));
  return found->second;
}

/// @throws Error naming `what` when a string isn't UTF-8.
std::string utf8_dump(const std::string& file, const nlohmann::ordered_json& json, const char* what) {
  try {
    return json.dump();
  } catch (const nlohmann::json::exception&) {
    fail(file, fmt::format("can't be written: {} is not UTF-8", what), ErrorCode::invalid_argument);
  }
}

std::string heads_text(const std::string& file, const std::vector<Head>& heads) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Head& head : heads) {
    list.push_back({{"name", head.name}, {"classes", head.classes}});
    if (head.ordinal) list.back()["ordinal"] = true;
  }
  return utf8_dump(file, list, "the name of a head or class");
}

std::vector<Head> parse_heads(const std::string& file, const std::string& text) {
  try {
    std::vector<Head> heads;
    const auto list = nlohmann::json::parse(text);
    // A JSON object would pass the iteration below too.
    if (!list.is_array()) fail(file, fmt::format("its `heads` is {}; a JSON list is needed", in_quotes(text)));
    for (const auto& head : list) {
      heads.push_back({.name = head.at("name").get<std::string>(),
                       .classes = head.at("classes").get<std::vector<std::string>>(),
                       .ordinal = head.value("ordinal", false)});
    }
    return heads;
  } catch (const nlohmann::json::exception&) {
    fail(file,
         fmt::format("its `heads` is {}; a JSON list of objects with `name` and `classes` is needed", in_quotes(text)));
  }
}

std::array<float, 3> parse_channels(const std::string& file, const Metadata& metadata, const std::string& key) {
  const std::string& text = value_of(file, metadata, key);
  try {
    const auto values = FloatJson::parse(text).get<std::vector<float>>();
    if (values.size() == 3) return {values[0], values[1], values[2]};
  } catch (const FloatJson::exception&) {  // Refused below, with the value.
  }
  fail(file, fmt::format("its `{}` is {}; a JSON list of three numbers is needed", key, in_quotes(text)));
}

/// The text of a square size is its side, which is all that earlier versions read.
std::string size_text(ImageSize size) {
  return size.height == size.width ? std::to_string(size.height) : facet::to_string(size);
}

ImageSize parse_size(const std::string& file, const std::string& text) {
  try {
    return parse_image_size(text);
  } catch (const Error&) {
    fail(file, fmt::format("its `size` is {}; 1 to {}, or HEIGHTxWIDTH of such numbers, is allowed", in_quotes(text),
                           max_image_side));
  }
}

ResizeMode parse_resize(const std::string& file, const std::string& text) {
  for (const ResizeMode mode : {ResizeMode::squash, ResizeMode::crop}) {
    if (text == to_string(mode)) return mode;
  }
  fail(file, fmt::format("its `resize` is {}; \"squash\" or \"crop\" is allowed", in_quotes(text)));
}

}  // namespace

Metadata to_metadata(const std::string& file, const ModelInfo& info) {
  check(file, info, ErrorCode::invalid_argument);
  utf8_dump(file, info.model, "the model's name");
  utf8_dump(file, info.shape, "the model's shape");
  Metadata metadata{{"format", std::string(model_file_format)},
                    {"version", std::string(metadata_version)},
                    {"model", info.model},
                    {"size", size_text(info.size)},
                    {"resize", std::string(to_string(info.resize))},
                    {"heads", heads_text(file, info.heads)},
                    {"mean", FloatJson(info.normalization.mean).dump()},
                    {"std", FloatJson(info.normalization.std).dump()}};
  if (!info.shape.empty()) metadata.emplace("shape", info.shape);
  return metadata;
}

ModelInfo to_model_info(const std::string& file, const Metadata& metadata) {
  const auto found = metadata.find("format");
  if (found == metadata.end() || found->second != model_file_format) {
    fail(file, fmt::format("the file is not a model file of facet: its metadata has the format {}; \"{}\" is needed",
                           found == metadata.end() ? "(none)" : in_quotes(found->second), model_file_format));
  }
  const std::string written = value_of(file, metadata, "version");
  if (written != metadata_version) {
    fail(file,
         fmt::format("its metadata has the version {}; \"{}\" is supported", in_quotes(written), metadata_version));
  }
  ModelInfo info{
      .model = value_of(file, metadata, "model"),
      .size = parse_size(file, value_of(file, metadata, "size")),
      .heads = parse_heads(file, value_of(file, metadata, "heads")),
      .normalization = {.mean = parse_channels(file, metadata, "mean"), .std = parse_channels(file, metadata, "std")}};
  if (const auto resize = metadata.find("resize"); resize != metadata.end()) {
    info.resize = parse_resize(file, resize->second);
  }
  if (const auto shape = metadata.find("shape"); shape != metadata.end()) info.shape = shape->second;
  check(file, info, ErrorCode::invalid_data);
  return info;
}

void require_graph(const ModelInfo& info, const Graph& graph) {
  const Shape expected{3, info.size.height, info.size.width};
  if (graph.input_shape() != expected) {
    throw Error(fmt::format("model {}: the graph's input has the shape {}; its description has {}", info.model,
                            facet::to_string(graph.input_shape()), facet::to_string(expected)));
  }
  const std::vector<HeadOutput>& outputs = graph.heads();
  if (outputs.size() != info.heads.size()) {
    throw Error(fmt::format("model {}: the graph has {} heads; its description has {}", info.model, outputs.size(),
                            info.heads.size()));
  }
  for (std::size_t head = 0; head < outputs.size(); ++head) {
    const Head& described = info.heads[head];
    if (outputs[head].name != described.name) {
      throw Error(fmt::format("model {}: head {} of the graph is {}; in its description it is {}", info.model, head + 1,
                              outputs[head].name, described.name));
    }
    if (outputs[head].classes != static_cast<int>(described.classes.size())) {
      throw Error(fmt::format("model {}: head {} has {} classes in the graph and {} in its description", info.model,
                              described.name, outputs[head].classes, described.classes.size()));
    }
    if ((outputs[head].kind == LossKind::coral) != described.ordinal) {
      throw Error(fmt::format("model {}: head {} is ordinal {}, and not {}", info.model, described.name,
                              described.ordinal ? "in its description" : "in the graph",
                              described.ordinal ? "in the graph" : "in its description"));
    }
  }
}

}  // namespace facet::formats
