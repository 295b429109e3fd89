#include "formats/safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <tuple>
#include <utility>

#include "base/files.h"
#include "facet/error.h"

namespace facet::formats {
namespace {

using nlohmann::json;

struct NamedType {
  ElementType type;
  std::string_view name;
  std::size_t size;
};
constexpr std::array<NamedType, 5> element_types{{{ElementType::f32, "F32", 4},
                                                  {ElementType::f64, "F64", 8},
                                                  {ElementType::f16, "F16", 2},
                                                  {ElementType::bf16, "BF16", 2},
                                                  {ElementType::s64, "I64", 8}}};

constexpr std::size_t max_rank = 32;
/// The levels of nesting: the header, a tensor's object, its shape.
constexpr int max_depth = 3;

/// Checks a header for what json's own parser accepts: repeated keys, of which it would keep the last, and deep
/// nesting. A callback of the parser could check the same, but makes it visit all members of an object whenever one of
/// them ends.
class HeaderCheck : public nlohmann::json_sax<json> {
 public:
  std::string found = {};  ///< what is wrong with the header

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override {
    keys_.emplace_back();
    return open();
  }
  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    found = fmt::format("its header has the key {} twice", in_quotes(name));
    return false;
  }
  bool end_object() override {
    keys_.pop_back();
    return end_array();
  }
  bool start_array(std::size_t) override { return open(); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const json::exception&) override { return false; }

 private:
  bool open() {
    if (++depth_ <= max_depth) return true;
    found = "its header is nested too deeply";
    return false;
  }

  int depth_ = 0;
  std::vector<std::set<std::string>> keys_ = {};  // keys of each open object
};

/// Parses one header.
class HeaderParser {
 public:
  HeaderParser(const std::string& file, std::uint64_t data_bytes) : file_(file), data_bytes_(data_bytes) {}

  SafetensorsHeader parse(std::string_view text) const {
    const json root = parse_json(text);
    SafetensorsHeader header;
    for (const auto& [key, value] : root.items()) {
      if (key == metadata_key) {
        header.metadata = parse_metadata(value);
      } else {
        header.tensors.push_back(parse_tensor(key, value));
      }
    }
    std::sort(header.tensors.begin(), header.tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
      return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
    });
    check_contiguous(header.tensors);
    take_checksums(header);
    return header;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(fmt::format("{}: {}", file_, what), ErrorCode::invalid_data);
  }
  [[noreturn]] void fail(std::string_view tensor, const std::string& what) const {
    fail(fmt::format("tensor {} {}", in_quotes(tensor), what));
  }

  json parse_json(std::string_view text) const {
    if (text.empty() || text.front() != '{') fail("its header doesn't begin with '{'; is it a safetensors file?");
    // The parser takes a NUL byte as the end of the text and ignores what follows.
    if (text.find('\0') != std::string_view::npos) fail("its header is not JSON: it holds a NUL byte");
    HeaderCheck check;
    if (!json::sax_parse(text.begin(), text.end(), &check) && !check.found.empty()) fail(check.found);
    try {
      return json::parse(text.begin(), text.end());
    } catch (const json::exception& error) {
      const std::string_view what = error.what();
      const std::size_t id_end = what.find("] ");
      fail(fmt::format("its header is not JSON: {}",
                       what.substr(id_end == std::string_view::npos ? 0 : id_end + 2).substr(0, 200)));
    }
  }

  Metadata parse_metadata(const json& object) const {
    if (!object.is_object()) fail("its __metadata__ is not an object of strings");
    Metadata metadata;
    for (const auto& [key, value] : object.items()) {
      if (!value.is_string()) fail(fmt::format("its __metadata__ has {} that is not a string", in_quotes(key)));
      metadata.emplace(key, value.get<std::string>());
    }
    return metadata;
  }

  TensorEntry parse_tensor(const std::string& name, const json& object) const {
    if (!object.is_object()) fail(name, "is not an object");
    TensorEntry tensor{.name = name, .type = parse_type(name, object), .shape = parse_shape(name, object)};
    std::tie(tensor.begin, tensor.end) = parse_offsets(name, object);

    std::int64_t bytes = static_cast<std::int64_t>(size_of(tensor.type));
    for (const std::int64_t extent : tensor.shape) {
      if (__builtin_mul_overflow(bytes, extent, &bytes)) {
        fail(name, fmt::format("has the shape {}, whose bytes don't fit into 64 bits", facet::to_string(tensor.shape)));
      }
    }
    if (tensor.end - tensor.begin != static_cast<std::uint64_t>(bytes)) {
      fail(name, fmt::format("of type {} and shape {} takes {} bytes, but its data_offsets span {}",
                             to_string(tensor.type), facet::to_string(tensor.shape), bytes, tensor.end - tensor.begin));
    }
    return tensor;
  }

  ElementType parse_type(const std::string& name, const json& object) const {
    const auto found = object.find("dtype");
    if (found == object.end() || !found->is_string()) fail(name, "has no dtype");
    const auto& text = found->get_ref<const std::string&>();
    for (const NamedType& candidate : element_types) {
      if (candidate.name == text) return candidate.type;
    }
    fail(name, fmt::format("has the dtype {}; F32, F64, F16, BF16 and I64 are supported", in_quotes(text)));
  }

  Shape parse_shape(const std::string& name, const json& object) const {
    const auto found = object.find("shape");
    if (found == object.end() || !found->is_array()) fail(name, "has no shape");
    if (found->size() > max_rank) {
      fail(name, fmt::format("has a shape of {} extents; at most {} are allowed", found->size(), max_rank));
    }
    Shape shape;
    for (const json& extent : *found) {
      if (!extent.is_number_unsigned() ||
          extent.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        fail(name, "has an extent in its shape that is not a whole number from 0 to 2^63 - 1");
      }
      shape.push_back(extent.get<std::int64_t>());
    }
    return shape;
  }

  std::pair<std::uint64_t, std::uint64_t> parse_offsets(const std::string& name, const json& object) const {
    const auto found = object.find("data_offsets");
    if (found == object.end() || !found->is_array() || found->size() != 2 || !(*found)[0].is_number_unsigned() ||
        !(*found)[1].is_number_unsigned()) {
      fail(name, "has no data_offsets of two whole numbers");
    }
    const auto begin = (*found)[0].get<std::uint64_t>();
    const auto end = (*found)[1].get<std::uint64_t>();
    if (begin > end) fail(name, fmt::format("ends before it begins: data_offsets {} and {}", begin, end));
    if (end > data_bytes_) {
      fail(name, fmt::format("ends at byte {} of {} data bytes; is the file cut off?", end, data_bytes_));
    }
    return {begin, end};
  }

  void check_contiguous(const std::vector<TensorEntry>& tensors) const {
    std::uint64_t position = 0;
    for (const TensorEntry& tensor : tensors) {
      if (tensor.begin < position) {
        fail(tensor.name,
             fmt::format("begins at data byte {}, but another tensor ends only at {}", tensor.begin, position));
      }
      if (tensor.begin > position) {
        fail(tensor.name, fmt::format("has a gap before it: data bytes {} to {}", position, tensor.begin));
      }
      position = tensor.end;
    }
    if (position != data_bytes_) {
      fail(fmt::format("the file has {} bytes after the end of its last tensor", data_bytes_ - position));
    }
  }

  /// Moves the CRCs, if there are any, from the metadata to the tensors, and checks that of the metadata.
  void take_checksums(SafetensorsHeader& header) const {
    const auto found = header.metadata.find(std::string(crc32c_key));
    if (found == header.metadata.end()) return;
    const json checksums = json::parse(found->second, nullptr, false);
    header.metadata.erase(found);
    if (!checksums.is_object()) fail(fmt::format("its `{}` is not a JSON object", crc32c_key));
    if (checksums.size() != header.tensors.size() + 1) {
      fail(fmt::format("its `{}` has {} CRC-32Cs; one for each tensor and one for the metadata are needed, {} in all",
                       crc32c_key, checksums.size(), header.tensors.size() + 1));
    }
    for (TensorEntry& tensor : header.tensors) tensor.crc32c = parse_checksum(checksums, tensor.name);
    if (parse_checksum(checksums, std::string(metadata_key)) != crc32c_of(header.metadata)) {
      fail("the file is damaged: its metadata doesn't have the CRC-32C that it was written with");
    }
  }

  std::uint32_t parse_checksum(const json& checksums, const std::string& name) const {
    const auto found = checksums.find(name);
    if (found == checksums.end()) fail(fmt::format("its `{}` has no CRC-32C of {}", crc32c_key, in_quotes(name)));
    if (found->is_string()) {
      const auto& text = found->get_ref<const std::string&>();
      std::uint32_t crc = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), crc, 16);
      if (error == std::errc() && end == text.data() + text.size() && crc32c_digits(crc) == text) return crc;
    }
    fail(fmt::format("the CRC-32C of {} is {}; 8 hexadecimal digits are needed", in_quotes(name),
                     in_quotes(found->dump(-1, ' ', false, json::error_handler_t::replace))));
  }

  const std::string& file_;
  std::uint64_t data_bytes_;
};

const NamedType& named(ElementType type) {
  return *std::find_if(element_types.begin(), element_types.end(),
                       [type](const NamedType& candidate) { return candidate.type == type; });
}

}  // namespace

std::string_view to_string(ElementType type) { return named(type).name; }

std::size_t size_of(ElementType type) { return named(type).size; }

std::string in_quotes(std::string_view text) {
  constexpr std::size_t longest = 120;
  const std::string shown = text.size() <= longest ? std::string(text) : std::string(text.substr(0, longest)) + "...";
  return json(shown).dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string crc32c_digits(std::uint32_t crc) { return fmt::format("{:08x}", crc); }

std::uint32_t crc32c_of(const Metadata& metadata) {
  std::uint32_t crc = 0;
  for (const auto& [key, value] : metadata) {
    if (key == crc32c_key) continue;
    for (const std::string& text : {key, value}) {
      crc = base::crc32c(std::as_bytes(std::span(text.c_str(), text.size() + 1)), crc);
    }
  }
  return crc;
}

SafetensorsHeader parse_header(const std::string& file, std::string_view text, std::uint64_t data_bytes) {
  return HeaderParser(file, data_bytes).parse(text);
}

}  // namespace facet::formats
