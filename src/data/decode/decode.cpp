#include "data/decode/decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <new>
#include <string_view>
#include <vector>

#include "base/read_file.h"
#include "base/text.h"
#include "facet/error.h"
#include "facet/machine.h"
#include "facet/text.h"

namespace facet {
namespace data {
namespace {

// Files and images that exceed these limits are refused as an attack or a mistake.
constexpr std::uint64_t max_file_bytes = std::uint64_t{1} << 30;
constexpr std::int64_t max_memory = std::int64_t{1} << 31;
/// Images that need more memory are decoded one at a time, after a check of the available memory, which would take too
/// long for every image.
constexpr std::int64_t max_parallel_memory = std::int64_t{1} << 27;
/// The number of leading bytes from which a file's format is recognised.
constexpr std::size_t start_bytes = 512;

enum class Format { jpeg, png, webp, other };

using namespace std::string_view_literals;

bool has_at(std::string_view start, std::size_t at, std::string_view pattern) {
  return start.size() >= at && start.substr(at).starts_with(pattern);
}

std::string_view as_text(std::span<const std::uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), std::min(bytes.size(), start_bytes)};
}

Format format_of(std::string_view start) {
  if (start.starts_with("\xFF\xD8\xFF"sv)) return Format::jpeg;
  if (start.starts_with("\x89PNG\r\n\x1A\n"sv)) return Format::png;
  if (start.starts_with("RIFF"sv) && has_at(start, 8, "WEBP"sv)) return Format::webp;
  return Format::other;
}

/// Describes a file that consists of boxes, as MP4 does, by the brand in its first box.
std::string_view name_of_brand(std::string_view brand) {
  if (brand == "avif" || brand == "avis") return "an AVIF";
  for (const std::string_view each : {"heic"sv, "heix"sv, "heim"sv, "heis"sv, "hevc"sv, "hevx"sv, "mif1"sv, "msf1"sv}) {
    if (brand == each) return "a HEIC";
  }
  return "a video, or another file of MP4's family";
}

/// Describes a text file. A byte-order mark and white space may precede its tags.
std::string_view name_of_text(std::string_view start) {
  if (start.starts_with("version https://git-lfs"sv)) return "a pointer to a file in Git LFS";
  const std::size_t cut = start.size() < start_bytes ? 0 : 3;  // the bytes that were read may end within a character
  if (start.starts_with("\xEF\xBB\xBF"sv)) start.remove_prefix(3);
  const std::string lower =
      base::lower_case(start.substr(std::min(start.find_first_not_of(" \t\n\v\f\r"), start.size())));
  if (lower.starts_with("<!doctype html") || lower.find("<html") != std::string::npos) return "an HTML page";
  if (lower.find("<svg") != std::string::npos) return "an SVG";
  if (lower.starts_with("<?xml")) return "an XML file";
  const auto is_control = [](char c) {
    return static_cast<unsigned char>(c) < ' ' && std::string_view("\t\n\r\f").find(c) == std::string_view::npos;
  };
  if (std::any_of(start.begin(), start.end(), is_control)) return "a file of an unknown format";
  for (std::size_t i = 0; i <= std::min(cut, start.size()); ++i) {
    if (base::is_utf8(start.substr(0, start.size() - i))) return "text";
  }
  return "a file of an unknown format";
}

/// Describes a file of an unsupported format, with an article: "a GIF".
std::string_view name_of_other(std::string_view start) {
  struct Pattern {
    std::size_t at;
    std::string_view bytes;
    std::string_view name;
  };
  constexpr std::array patterns{Pattern{0, "GIF8"sv, "a GIF"sv},
                                Pattern{0, "II*\0"sv, "a TIFF"sv},
                                Pattern{0, "MM\0*"sv, "a TIFF"sv},
                                Pattern{0, "II+\0"sv, "a TIFF"sv},
                                Pattern{0, "MM\0+"sv, "a TIFF"sv},
                                Pattern{0, "\0\0\0\x0CJXL "sv, "a JPEG XL"sv},
                                Pattern{0, "\xFF\x0A"sv, "a JPEG XL"sv},
                                Pattern{0, "\0\0\0\x0CjP  "sv, "a JPEG 2000"sv},
                                Pattern{0, "\xFF\x4F\xFF\x51"sv, "a JPEG 2000"sv},
                                Pattern{0, "8BPS"sv, "a Photoshop file"sv},
                                Pattern{0, "\0\0\1\0"sv, "an icon (ICO)"sv},
                                Pattern{0, "%PDF"sv, "a PDF"sv},
                                Pattern{0, "PK\3\4"sv, "a ZIP archive"sv},
                                Pattern{0, "\x1F\x8B"sv, "a gzip file"sv},
                                Pattern{0, "RIFF"sv, "a RIFF file that is not WebP"sv}};
  for (const auto& [at, bytes, name] : patterns) {
    if (has_at(start, at, bytes)) return name;
  }
  if (start.starts_with("BM"sv) && has_at(start, 6, "\0\0\0\0"sv)) return "a BMP";
  if (has_at(start, 4, "ftyp"sv)) return name_of_brand(start.substr(8, 4));
  if (start.find_first_not_of('\0') == std::string_view::npos) return "a file of zeros";
  return name_of_text(start);
}

}  // namespace

DecodingLock require_decoding_memory(std::int64_t width, std::int64_t height, std::int64_t bytes) {
  if (bytes > max_memory) {
    throw Error(fmt::format("decoding {}x{} pixels takes {} bytes of memory; at most {} are allowed", width, height,
                            bytes, max_memory),
                ErrorCode::invalid_data);
  }
  if (bytes <= max_parallel_memory) return {};
  static std::mutex mutex;
  DecodingLock lock(mutex);
  if (const std::int64_t available = available_memory(); bytes > available) {
    throw Error(fmt::format("decoding {}x{} pixels takes {} bytes of memory; {} are available", width, height, bytes,
                            available),
                ErrorCode::out_of_memory);
  }
  return lock;
}

DecodedImage decode_image(std::span<const std::uint8_t> bytes, const DecodeChoice& choose, Scratch& scratch) {
  if (bytes.empty()) throw Error("is empty", ErrorCode::invalid_data);
  switch (format_of(as_text(bytes))) {
    case Format::jpeg:
      return decode_jpeg(bytes, choose, scratch);
    case Format::png:
      return decode_png(bytes, scratch);
    case Format::webp:
      return decode_webp(bytes, scratch);
    case Format::other:
      break;
  }
  throw Error(fmt::format("is {}; JPEG, PNG and WebP can be read", name_of_other(as_text(bytes))),
              ErrorCode::invalid_data);
}

DecodedImage decode_image(std::span<const std::uint8_t> bytes, ImageSize size, Scratch& scratch) {
  return decode_image(
      bytes, [size](ImageSize) { return DecodeRequest{.size = size}; }, scratch);
}

DecodedImage decode_image(std::span<const std::uint8_t> bytes, ImageSize size) {
  Scratch scratch;
  return decode_image(bytes, size, scratch);
}

std::vector<std::uint8_t> read_image_file(const std::filesystem::path& file) {
  const auto is_image = [](std::span<const std::uint8_t> start) { return format_of(as_text(start)) != Format::other; };
  return base::read_file(file, max_file_bytes, start_bytes, is_image);
}

}  // namespace data

Image read_image(const std::filesystem::path& file, ImageSize size, std::string* warning) {
  try {
    data::DecodedImage decoded = data::decode_image(data::read_image_file(file), size);
    if (warning) *warning = std::move(decoded.warning);
    return std::move(decoded.image);
  } catch (const Error& error) {
    throw error.with_prefix(printable(file.string()) + ": ");
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("{}: out of memory while it is decoded", printable(file.string())),
                ErrorCode::out_of_memory);
  }
}

}  // namespace facet
