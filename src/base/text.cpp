#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "facet/text.h"

namespace facet::base {
namespace {

/// The code point of `character`, which is one UTF-8 character.
std::uint32_t code_point(std::string_view character) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(character[i])); };
  if (character.size() == 1) return byte(0);
  std::uint32_t value = byte(0) & (0x7FU >> character.size());
  for (std::size_t i = 1; i < character.size(); ++i) value = value << 6 | (byte(i) & 0x3FU);
  return value;
}

/// Whether the code point is a C0 or C1 control, a mark or embedding of text direction, a line or paragraph separator,
/// or the byte-order mark.
bool is_hidden(std::uint32_t code) {
  return code < 0x20 || (code >= 0x7F && code <= 0x9F) || code == 0x061C || (code >= 0x200B && code <= 0x200F) ||
         (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069) || code == 0xFEFF;
}

std::string escaped(std::uint32_t code) {
  switch (code) {
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return code < 0x80 ? fmt::format("\\x{:02X}", code) : fmt::format("\\u{:04X}", code);
  }
}

}  // namespace

std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto within = [&](std::size_t i, unsigned low, unsigned high) { return byte(i) >= low && byte(i) <= high; };
  const auto follows = [&](std::size_t i) { return within(i, 0x80, 0xBF); };
  if (text.empty()) return 0;
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (within(0, 0xC2, 0xDF)) return follows(1) ? 2 : 0;
  if (within(0, 0xE0, 0xEF)) {
    // Overlong encodings and UTF-16 surrogates are invalid.
    return within(1, first == 0xE0 ? 0xA0 : 0x80, first == 0xED ? 0x9F : 0xBF) && follows(2) ? 3 : 0;
  }
  if (!within(0, 0xF0, 0xF4)) return 0;
  return within(1, first == 0xF0 ? 0x90 : 0x80, first == 0xF4 ? 0x8F : 0xBF) && follows(2) && follows(3) ? 4 : 0;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

}  // namespace facet::base

namespace facet {

std::string printable(std::string_view text) {
  std::string shown;
  shown.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = base::utf8_length(text);
    if (length == 0) {
      shown += fmt::format("\\x{:02X}", static_cast<unsigned char>(text.front()));
      text.remove_prefix(1);
      continue;
    }
    const std::string_view character = text.substr(0, length);
    const std::uint32_t code = base::code_point(character);
    if (base::is_hidden(code)) {
      shown += base::escaped(code);
    } else {
      shown += character;
    }
    text.remove_prefix(length);
  }
  return shown;
}

std::string list_of(const std::vector<std::string>& names, std::size_t max_listed) {
  std::string list;
  for (std::size_t i = 0; i < std::min(names.size(), max_listed); ++i) {
    list += (i == 0 ? "" : ", ") + printable(names[i]);
  }
  return names.size() > max_listed ? fmt::format("{} and {} more", list, names.size() - max_listed) : list;
}

}  // namespace facet
