#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "facet/error.h"
#include "facet/models.h"

namespace facet {

namespace {

/// JSON whose floating-point type is float, so that rates are written in few digits and read back exactly.
using Json = nlohmann::basic_json<std::map, std::vector, std::string, bool, std::int64_t, std::uint64_t, float>;

Json to_json(const ReferenceShape& shape) {
  Json json{{"stem", shape.stem}, {"blocks", Json::array()}, {"hidden", Json::object()}};
  for (const ReferenceBlock& block : shape.blocks) {
    json["blocks"].push_back({{"channels", block.channels}, {"residual_blocks", block.residual_blocks}});
  }
  for (const auto& [head, hidden] : shape.hidden) {
    json["hidden"][head] = {{"features", hidden.features}, {"dropout", hidden.dropout}, {"alpha", hidden.alpha}};
  }
  return json;
}

/// @throws Json::exception
ReferenceShape from_json(const Json& json) {
  ReferenceShape shape{.stem = json.at("stem").get<std::int64_t>(), .blocks = {}};
  for (const Json& block : json.at("blocks")) {
    shape.blocks.push_back({block.at("channels").get<std::int64_t>(), block.at("residual_blocks").get<int>()});
  }
  for (const auto& [head, hidden] : json.at("hidden").items()) {
    shape.hidden[head] = {hidden.at("features").get<std::int64_t>(), hidden.at("dropout").get<float>(),
                          hidden.at("alpha").get<bool>()};
  }
  return shape;
}

/// Quotes a text from a file for a message: cut off, escaped and in valid UTF-8.
std::string in_quotes(std::string_view text) {
  constexpr std::size_t longest = 200;
  return Json(text.substr(0, longest)).dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string to_string(const ReferenceShape& shape) {
  if (shape == ReferenceShape{}) return {};
  try {
    return to_json(shape).dump();
  } catch (const Json::exception&) {
    throw Error("the reference model's shape: the name of a head is not UTF-8");
  }
}

ReferenceShape parse_reference_shape(std::string_view text) {
  if (text.empty()) return {};
  try {
    const Json json = Json::parse(text);
    ReferenceShape shape = from_json(json);
    // Unknown names and rounded numbers are refused, because they don't survive the round trip.
    if (to_json(shape) == json) return shape;
  } catch (const Json::exception&) {  // Refused below, with the text.
  }
  const ReferenceShape example{.hidden = {{"race", reference_hidden("race")}}};
  throw Error(fmt::format("the reference model's shape is {}; JSON of this form is allowed: {}", in_quotes(text),
                          to_string(example)));
}

}  // namespace facet
