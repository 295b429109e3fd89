#include "train/record_fields.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "facet/error.h"
#include "interchange/safetensors_header.h"

namespace facet::train {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void refuse(const char* key, const Json& found, const std::string& allowed) {
  // A list or an object may be nested too deeply to be written.
  const std::string what = found.is_primitive() ? interchange::in_quotes(found.dump()) : found.type_name();
  throw Error(fmt::format("`{}` is {}; {} is allowed", key, what, allowed));
}

std::int64_t whole(const char* key, const Json& value, std::int64_t least, std::int64_t greatest) {
  // An unsigned number of 2^63 and more is read as one below 0.
  if (value.is_number_integer()) {
    const auto number = value.get<std::int64_t>();
    if (number >= least && number <= greatest) return number;
  }
  refuse(key, value, fmt::format("a whole number of {} to {}", least, greatest));
}

}  // namespace

const Json& field(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) throw Error(fmt::format("`{}` is missing", key));
  return *found;
}

std::string text_field(const Json& object, const char* key) {
  const Json& value = field(object, key);
  if (!value.is_string()) refuse(key, value, "a string");
  return value.get<std::string>();
}

double number_field(const Json& object, const char* key, double least, double greatest) {
  const Json& value = field(object, key);
  if (value.is_number()) {
    const auto number = value.get<double>();
    if (number >= least && number <= greatest) return number;
  }
  refuse(key, value, fmt::format("a number of {} to {:.3g}", least, greatest));
}

std::int64_t whole_field(const Json& object, const char* key, std::int64_t least, std::int64_t greatest) {
  return whole(key, field(object, key), least, greatest);
}

std::vector<std::int64_t> whole_fields(const Json& object, const char* key, std::size_t count) {
  const Json& list = field(object, key);
  if (!list.is_array()) refuse(key, list, "a list");
  if (list.size() != count) {
    throw Error(fmt::format("`{}` is a list of {}; one of {} is allowed, a number a head", key, list.size(), count));
  }
  std::vector<std::int64_t> numbers;
  for (const Json& value : list) numbers.push_back(whole(key, value, 0, most_whole));
  return numbers;
}

}  // namespace facet::train
