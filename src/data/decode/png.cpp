#include <fmt/format.h>
#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <new>
#include <string_view>

#include "data/decode/decode.h"
#include "facet/error.h"

namespace facet::data {
namespace {

using Message = std::array<char, 200>;

void copy_text(const char* text, Message& message) { std::snprintf(message.data(), message.size(), "%s", text); }

/// Decodes a PNG in memory with libpng.
class PngDecoder {
 public:
  explicit PngDecoder(std::span<const std::uint8_t> bytes)
      : unread_(bytes), png_(png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning)) {
    if (png_ == nullptr) throw std::bad_alloc();
    info_ = png_create_info_struct(png_);
  }
  ~PngDecoder() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngDecoder(const PngDecoder&) = delete;
  PngDecoder& operator=(const PngDecoder&) = delete;

  DecodedImage decode(Scratch& scratch) {
    if (info_ == nullptr) throw std::bad_alloc();
    if (!succeeds([&] { read_header(); })) fail();
    const std::int64_t width = png_get_image_width(png_, info_), height = png_get_image_height(png_, info_);
    const DecodingLock lock =
        require_decoding_memory(width, height, width * height * 6);  // twice the image: EXIF at the end may rotate it
    int passes = 0;
    if (!succeeds([&] { passes = request_rgb(); })) fail();
    const auto row_bytes = static_cast<std::size_t>(width) * 3;
    if (png_get_rowbytes(png_, info_) != row_bytes) {
      throw Error(fmt::format("corrupt PNG: its rows have {} bytes; {} are needed for RGB",
                              png_get_rowbytes(png_, info_), row_bytes),
                  ErrorCode::invalid_data);
    }
    Image image{.width = static_cast<int>(width),
                .height = static_cast<int>(height),
                .pixels = scratch.take(row_bytes * static_cast<std::size_t>(height))};
    const auto read_rows = [&] {
      for (int pass = 0; pass < passes; ++pass) {
        for (std::size_t at = 0; at < image.pixels.size(); at += row_bytes) {
          png_read_row(png_, &image.pixels[at], nullptr);
        }
      }
    };
    if (!succeeds(read_rows)) fail();
    read_end();
    image = upright(std::move(image), orientation(), scratch);
    const ImageSize whole(image.height, image.width);
    return {.image = std::move(image), .placement = {.whole = whole}, .warning = warning_.data()};
  }

 private:
  static PngDecoder& self(png_voidp pointer) { return *static_cast<PngDecoder*>(pointer); }

  [[noreturn]] static void on_error(png_structp png, png_const_charp text) {
    PngDecoder& decoder = self(png_get_error_ptr(png));
    copy_text(text, decoder.error_);
    std::longjmp(decoder.escape_, 1);
  }

  static void on_warning(png_structp png, png_const_charp text) {
    Message& warning = self(png_get_error_ptr(png)).warning_;
    if (warning[0] == '\0') copy_text(text, warning);
  }

  static void copy_bytes(png_structp png, png_bytep to, std::size_t count) {
    PngDecoder& decoder = self(png_get_io_ptr(png));
    if (count > decoder.unread_.size()) {
      decoder.ended_early_ = true;
      png_error(png, "it ends too early");
    }
    std::copy_n(decoder.unread_.begin(), count, to);
    decoder.unread_ = decoder.unread_.subspan(count);
  }

  /// Runs calls of libpng; returns false when one fails. libpng leaves a failing call by longjmp, so `calls` must
  /// not have local objects with destructors.
  template <class Calls>
  bool succeeds(const Calls& calls) {
    if (setjmp(escape_) != 0) return false;
    calls();
    return true;
  }

  /// @throws std::bad_alloc when libpng's last error is a lack of memory, which only its text says.
  void require_memory() const {
    if (std::string_view(error_.data()).find("memory") != std::string_view::npos) throw std::bad_alloc();
  }

  /// Throws an exception for libpng's last error.
  [[noreturn]] void fail() const {
    require_memory();
    throw Error(fmt::format("{} PNG: {}", ended_early_ ? "truncated" : "corrupt", error_.data()),
                ErrorCode::invalid_data);
  }

  void read_header() {
    png_set_read_fn(png_, this, copy_bytes);
    // EXIF is the only ancillary chunk in use: Pillow's convert("RGB") drops alpha, gamma and colour profiles too.
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, reinterpret_cast<png_const_bytep>("tRNS"), 1);
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_AS_DEFAULT, reinterpret_cast<png_const_bytep>("eXIf"), 1);
    png_set_crc_action(png_, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_read_info(png_, info_);
  }

  /// Requests 8-bit RGB rows. @return the number of passes in which the rows must be read.
  int request_rgb() {
    const int colour = png_get_color_type(png_, info_);
    png_set_strip_16(png_);
    png_set_strip_alpha(png_);
    if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png_);
    if ((colour & PNG_COLOR_MASK_COLOR) == 0) {
      png_set_expand_gray_1_2_4_to_8(png_);
      png_set_gray_to_rgb(png_);
    }
    const int passes = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return passes;
  }

  /// Reads what follows the pixels: possibly EXIF, and the end. Damage there affects no pixel and is a warning only.
  void read_end() {
    png_set_crc_action(png_, PNG_CRC_NO_CHANGE, PNG_CRC_WARN_DISCARD);
    if (succeeds([&] { png_read_end(png_, info_); })) return;
    require_memory();
    copy_text(ended_early_ ? "its end is missing" : error_.data(), warning_);
  }

  int orientation() const {
    png_uint_32 size = 0;
    png_bytep block = nullptr;
    if (png_get_eXIf_1(png_, info_, &size, &block) == 0 || block == nullptr) return 1;
    return exif_orientation({block, size});
  }

  std::span<const std::uint8_t> unread_;
  bool ended_early_ = false;
  Message error_ = {};
  Message warning_ = {};
  std::jmp_buf escape_ = {};
  png_structp png_;
  png_infop info_ = nullptr;
};

}  // namespace

std::string png_library() { return fmt::format("libpng {}", png_get_libpng_ver(nullptr)); }

DecodedImage decode_png(std::span<const std::uint8_t> bytes, Scratch& scratch) {
  return PngDecoder(bytes).decode(scratch);
}

}  // namespace facet::data
