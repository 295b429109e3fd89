#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace facet::train {

// Members of a JSON object that a file holds, and that may be anything. All throw Error naming the member, what it is
// and what is allowed, without the file's name.

/// The largest whole number that is read: sums of a few of them, and other programs' doubles, hold it exactly.
inline constexpr std::int64_t most_whole = std::int64_t{1} << 53;

const nlohmann::ordered_json& field(const nlohmann::ordered_json& object, const char* key);
std::string text_field(const nlohmann::ordered_json& object, const char* key);
double number_field(const nlohmann::ordered_json& object, const char* key, double least, double greatest);
/// @param least at least 0.
std::int64_t whole_field(const nlohmann::ordered_json& object, const char* key, std::int64_t least,
                         std::int64_t greatest = most_whole);
/// A list of `count` whole numbers of at least 0.
std::vector<std::int64_t> whole_fields(const nlohmann::ordered_json& object, const char* key, std::size_t count);

}  // namespace facet::train
