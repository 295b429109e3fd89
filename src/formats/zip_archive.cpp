#include "formats/zip_archive.h"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <array>

#include "facet/error.h"
#include "formats/readable_file.h"
#include "formats/safetensors_header.h"

namespace facet::formats {
namespace {

/// Deflate compresses zeros a thousandfold, but weights only to nine tenths: an entry beyond both limits isn't weights.
constexpr std::uint64_t max_ratio = 100;
constexpr std::uint64_t max_without_ratio_check = std::uint64_t{64} << 20;

struct CloseFile {
  void operator()(zip_file_t* file) const { ::zip_fclose(file); }
};
using OpenEntry = std::unique_ptr<zip_file_t, CloseFile>;

/// Reads from the entry's current position; returns false if it ends too early or can't be read.
bool read_on(zip_file_t& entry, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const zip_int64_t count = ::zip_fread(&entry, bytes.data(), bytes.size());
    if (count <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return true;
}

bool skip(zip_file_t& entry, std::uint64_t count, bool stored) {
  if (count == 0) return true;
  if (stored) return ::zip_fseek(&entry, static_cast<zip_int64_t>(count), SEEK_SET) == 0;
  std::array<std::byte, 65536> unwanted;
  for (; count > 0; count -= std::min<std::uint64_t>(count, unwanted.size())) {
    if (!read_on(entry, std::span(unwanted).first(std::min<std::uint64_t>(count, unwanted.size())))) return false;
  }
  return true;
}

/// Whether the checksum of the entry's bytes is correct, which is known once all of them have been read.
bool ends_well(zip_file_t& entry) {
  std::byte beyond;
  return ::zip_fread(&entry, &beyond, 1) == 0;
}

}  // namespace

/// An open archive, with the name of its file for messages and the file's size to check the claims of entries.
struct ZipArchive::Handle {
  std::string file = {};
  std::uint64_t file_size = 0;
  zip_t* archive = nullptr;

  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  explicit Handle(const ReadableFile& readable) : file(readable.name()), file_size(readable.size()) {}
  ~Handle() {
    if (archive != nullptr) ::zip_discard(archive);
  }

  [[noreturn]] void refuse(std::string_view entry, const std::string& what) const {
    throw Error(fmt::format("{}: {} in its zip archive {}", file, in_quotes(entry), what), ErrorCode::invalid_data);
  }

  /// Returns the description of an entry. @throws Error when the sizes that the archive claims aren't plausible.
  zip_stat_t find(std::string_view entry) const {
    zip_stat_t found;
    if (::zip_stat(archive, std::string(entry).c_str(), ZIP_FL_ENC_GUESS, &found) != 0) refuse(entry, "is missing");
    if (found.comp_size > file_size) {
      refuse(entry, fmt::format("claims to take {} bytes, but the file has {}", found.comp_size, file_size));
    }
    if (found.size > max_without_ratio_check && found.size / max_ratio > found.comp_size) {
      refuse(entry, fmt::format("claims to unpack {} bytes to {}; at most {} times as many are allowed",
                                found.comp_size, found.size, max_ratio));
    }
    return found;
  }
};

ZipArchive::ZipArchive(const std::filesystem::path& file) : handle_(std::make_unique<Handle>(ReadableFile(file))) {
  int code = 0;
  handle_->archive = ::zip_open(name().c_str(), ZIP_RDONLY, &code);
  if (handle_->archive == nullptr) {
    zip_error_t error;
    ::zip_error_init_with_code(&error, code);
    const std::string reason = ::zip_error_strerror(&error);
    ::zip_error_fini(&error);
    throw Error(fmt::format("{}: the file is not a complete zip archive ({}); is it cut off?", name(), reason),
                ErrorCode::invalid_data);
  }
  constexpr zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
  const zip_int64_t count = ::zip_get_num_entries(handle_->archive, 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t found;
    if (::zip_stat_index(handle_->archive, static_cast<zip_uint64_t>(i), 0, &found) != 0 ||
        (found.valid & needed) != needed) {
      throw Error(fmt::format("{}: entry {} of its zip archive can't be read", name(), i), ErrorCode::invalid_data);
    }
    if (!entries_.emplace(found.name).second) {
      throw Error(fmt::format("{}: its zip archive holds {} twice", name(), in_quotes(found.name)),
                  ErrorCode::invalid_data);
    }
  }
}

ZipArchive::~ZipArchive() = default;

const std::string& ZipArchive::name() const { return handle_->file; }

std::uint64_t ZipArchive::size_of(std::string_view entry) const { return handle_->find(entry).size; }

void ZipArchive::read(std::string_view entry, std::uint64_t offset, std::span<std::byte> bytes) const {
  const zip_stat_t found = handle_->find(entry);
  if (offset > found.size || bytes.size() > found.size - offset) {
    handle_->refuse(entry,
                    fmt::format("has {} bytes; {} bytes from byte {} on are needed", found.size, bytes.size(), offset));
  }
  const OpenEntry open(::zip_fopen_index(handle_->archive, found.index, 0));
  if (open == nullptr) handle_->refuse(entry, fmt::format("can't be read: {}", ::zip_strerror(handle_->archive)));
  const bool whole = offset + bytes.size() == found.size;
  if (!skip(*open, offset, found.comp_method == ZIP_CM_STORE) || !read_on(*open, bytes) ||
      (whole && !ends_well(*open))) {
    handle_->refuse(entry, fmt::format("is damaged: {}", ::zip_file_strerror(open.get())));
  }
}

}  // namespace facet::formats
