#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <new>
#include <string_view>
#include <utility>
#include <vector>
// jpeglib.h uses std::size_t and FILE but includes neither header. jerror.h depends on a macro that jpeglib.h defines.
// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include "data/decode/decode.h"
#include "facet/error.h"

#ifndef LIBJPEG_TURBO_VERSION
#error "facet: the libjpeg that was found is not libjpeg-turbo"
#endif

namespace facet::data {
namespace {

/// Bits per sample, the value of one channel, of the JPEGs that are decoded.
constexpr int sample_bits = 8;
/// A progressive JPEG of a few kilobytes can have thousands of scans, each of which goes over all coefficients.
constexpr int max_scans = 500;

/// Warnings of libjpeg that affect no pixel. All others indicate damaged data: bad Huffman codes, missing restart
/// markers, data that end within a scan.
constexpr std::array tolerated{JWRN_ADOBE_XFORM, JWRN_EXTRANEOUS_DATA, JWRN_JFIF_MAJOR, JWRN_JPEG_EOF,
                               JWRN_NOT_SEQUENTIAL};

/// State that the callbacks of libjpeg share with the decoder.
struct Messages {
  jpeg_error_mgr manager = {};
  std::jmp_buf escape = {};
  bool in_header = true;
  bool ended_early = false;  ///< the bytes ended where libjpeg wanted more; it goes on as if an end marker were there
  bool too_many_scans = false;
  unsigned components_seen = 0;             ///< a bit for each component of the frame
  std::span<const std::uint8_t> exif = {};  ///< the first EXIF block, a view of the file's bytes; empty: none
  std::array<std::array<char, JMSG_LENGTH_MAX>, tolerated.size()> warnings =
      {};  ///< the first of each kind; empty: none
};

Messages& messages_of(j_common_ptr decoder) { return *static_cast<Messages*>(decoder->client_data); }

[[noreturn]] void escape_to_caller(j_common_ptr decoder) { std::longjmp(messages_of(decoder).escape, 1); }

void on_message(j_common_ptr decoder, int level) {
  if (level >= 0) return;  // a remark for debugging
  Messages& messages = messages_of(decoder);
  const int code = decoder->err->msg_code;
  const auto place = std::find(tolerated.begin(), tolerated.end(), code);
  if (code == JWRN_JPEG_EOF) messages.ended_early = true;
  if (place == tolerated.end() || (code == JWRN_JPEG_EOF && messages.in_header)) escape_to_caller(decoder);
  std::array<char, JMSG_LENGTH_MAX>& text = messages.warnings[static_cast<std::size_t>(place - tolerated.begin())];
  if (text[0] == '\0') decoder->err->format_message(decoder, text.data());
}

/// A callback that runs before each row of blocks of a JPEG with several scans.
void watch_scans(j_common_ptr common) {
  Messages& messages = messages_of(common);
  const auto* decoder = reinterpret_cast<j_decompress_ptr>(common);
  for (int i = 0; i < decoder->comps_in_scan; ++i) {
    messages.components_seen |= 1U << decoder->cur_comp_info[i]->component_index;
  }
  if (decoder->input_scan_number > max_scans) {
    messages.too_many_scans = true;
    escape_to_caller(common);
  }
}

/// Examines an APP1 segment in place: libjpeg's own handling would copy every such segment, without limiting their
/// number.
boolean find_exif(j_decompress_ptr decoder) {
  constexpr std::string_view start("Exif\0\0", 6);
  constexpr std::size_t length_bytes = 2;
  const jpeg_source_mgr& source = *decoder->src;
  std::size_t length = length_bytes;
  if (source.bytes_in_buffer >= length_bytes) {
    length = std::max<std::size_t>(source.next_input_byte[0] << 8 | source.next_input_byte[1], length_bytes);
    const std::span<const std::uint8_t> block(source.next_input_byte, std::min(length, source.bytes_in_buffer));
    std::span<const std::uint8_t>& exif = messages_of(reinterpret_cast<j_common_ptr>(decoder)).exif;
    if (exif.empty() && block.size() == length && length >= length_bytes + start.size() &&
        std::equal(start.begin(), start.end(), block.begin() + length_bytes)) {
      exif = block.subspan(length_bytes);
    }
  }
  source.skip_input_data(decoder, static_cast<long>(length));
  return TRUE;
}

/// @throws Error when the marker is that of an unsupported kind of JPEG.
void require_supported(int marker) {
  const auto refuse = [marker](std::string_view kind) {
    throw Error(
        fmt::format("is {} (marker 0x{:02X}); baseline, extended and progressive JPEGs are allowed", kind, marker),
        ErrorCode::invalid_data);
  };
  switch (marker) {
    case 0xC3:
    case 0xCB:
      return refuse("a lossless JPEG");
    case 0xC7:
    case 0xCF:
      return refuse("a lossless, hierarchical JPEG");
    case 0xC5:
    case 0xC6:
    case 0xCD:
    case 0xCE:
    case 0xDE:
      return refuse("a hierarchical JPEG");
    case 0xF7:
      return refuse("a JPEG-LS");
    default:
      return;
  }
}

/// @throws Error that says that a JPEG has `bits` per sample.
[[noreturn]] void refuse_precision(int bits) {
  throw Error(fmt::format("is a JPEG of {} bits per sample; {} are allowed", bits, sample_bits),
              ErrorCode::invalid_data);
}

ImageSize stored_size(JDIMENSION width, JDIMENSION height) {
  return {static_cast<int>(height), static_cast<int>(width)};
}

/// Converts inverted CMYK to RGB without a colour profile: each of R, G and B is the product of its ink's channel and
/// the black channel. All CMYK is taken as inverted, as Adobe's programs write it and Pillow reads it.
void cmyk_to_rgb(std::span<const std::uint8_t> cmyk, std::uint8_t* rgb) {
  for (std::size_t i = 0; i < cmyk.size(); i += 4) {
    for (std::size_t c = 0; c < 3; ++c) *rgb++ = static_cast<std::uint8_t>((cmyk[i + c] * cmyk[i + 3] + 127) / 255);
  }
}

/// Decodes a JPEG in memory with libjpeg-turbo.
class JpegDecoder {
 public:
  JpegDecoder() {
    decoder_.err = jpeg_std_error(&messages_.manager);
    messages_.manager.error_exit = escape_to_caller;
    messages_.manager.emit_message = on_message;
    decoder_.client_data = &messages_;
    progress_.progress_monitor = watch_scans;
  }
  ~JpegDecoder() { jpeg_destroy_decompress(&decoder_); }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;

  DecodedImage decode(std::span<const std::uint8_t> bytes, const DecodeChoice& choose, Scratch& scratch) {
    read_header(bytes);
    const int orientation = exif_orientation(messages_.exif);
    const ImageSize full_size = turned(stored_size(decoder_.image_width, decoder_.image_height), orientation);
    const DecodeRequest request = choose(full_size);
    if (request.region) require_within(*request.region, full_size);
    const int by = jpeg_reduction(full_size, request.size);
    decoder_.scale_num = 1;
    decoder_.scale_denom = static_cast<unsigned>(by);
    decoder_.out_color_space = decoder_.num_components == 4 ? JCS_CMYK : JCS_RGB;
    guarded([&] { jpeg_calc_output_dimensions(&decoder_); });
    const DecodingLock lock =
        require_decoding_memory(decoder_.image_width, decoder_.image_height, memory_needed(orientation > 1));
    guarded([&] { jpeg_start_decompress(&decoder_); });
    const ImageSize whole = stored_size(decoder_.output_width, decoder_.output_height);
    const Region all{.width = whole.width, .height = whole.height};
    // libjpeg smooths an image whose scans lack coefficients across its blocks, which the edges of a part would change.
    const bool is_part = request.region && (!decoder_.progressive_mode || has_all_bits());
    Region part = is_part ? turned_back(reduced(*request.region, by), whole, orientation) : all;
    crop_columns(part);
    Image image = read_rows(part, scratch);
    const bool complete = is_complete();
    guarded([&] { jpeg_finish_decompress(&decoder_); });
    if (messages_.ended_early && !complete) fail();
    const Region upright_part = turned(part, whole, orientation);
    return {.image = upright(std::move(image), orientation, scratch),
            .placement = {turned(whole, orientation), upright_part.left, upright_part.top},
            .warning = warning()};
  }

 private:
  static constexpr int exif_marker = JPEG_APP0 + 1;

  /// Runs calls of libjpeg, and throws when one fails. libjpeg leaves a failing call by longjmp, so `calls` must not
  /// have local objects with destructors.
  template <class Calls>
  void guarded(const Calls& calls) {
    if (setjmp(messages_.escape) != 0) fail();
    calls();
  }

  /// Throws an exception for libjpeg's last message.
  [[noreturn]] void fail() {
    const int code = messages_.manager.msg_code;
    const int parameter = messages_.manager.msg_parm.i[0];
    if (messages_.too_many_scans) {
      throw Error(fmt::format("is a JPEG of more than {0} scans; at most {0} are allowed", max_scans),
                  ErrorCode::invalid_data);
    }
    if (code == JERR_OUT_OF_MEMORY) throw std::bad_alloc();
    if (code == JERR_BAD_PRECISION) refuse_precision(parameter);
    if (code == JERR_SOF_UNSUPPORTED || code == JERR_UNKNOWN_MARKER) require_supported(parameter);
    if (messages_.ended_early) {
      throw Error(fmt::format("truncated JPEG: it ends {}",
                              messages_.in_header ? "within its header" : "before the last row is complete"),
                  ErrorCode::invalid_data);
    }
    std::array<char, JMSG_LENGTH_MAX> text{};
    messages_.manager.format_message(common(), text.data());
    throw Error(fmt::format("corrupt JPEG: {}", text.data()), ErrorCode::invalid_data);
  }

  void read_header(std::span<const std::uint8_t> bytes) {
    guarded([&] {
      jpeg_create_decompress(&decoder_);
      decoder_.progress = &progress_;
      jpeg_mem_src(&decoder_, bytes.data(), static_cast<unsigned long>(bytes.size()));
      jpeg_set_marker_processor(&decoder_, exif_marker, find_exif);
      jpeg_read_header(&decoder_, TRUE);
      many_scans_ = jpeg_has_multiple_scans(&decoder_);
    });
    messages_.in_header = false;
    // libjpeg-turbo 3 decodes lossless frames and other precisions too, but through other functions.
    if (block_size() != DCTSIZE) require_supported(decoder_.arith_code ? 0xCB : 0xC3);
    if (decoder_.data_precision != sample_bits) refuse_precision(decoder_.data_precision);
  }

  /// Returns the side of the blocks in which the frame is coded; 1 for a lossless frame.
  int block_size() const {
#if JPEG_LIB_VERSION >= 70
    return decoder_.min_DCT_h_scaled_size;
#else
    return decoder_.min_DCT_scaled_size;
#endif
  }

  /// Returns the peak memory use in bytes, reached while the image is decoded or while it is turned upright.
  std::int64_t memory_needed(bool turned) const {
    const std::int64_t pixels = std::int64_t{decoder_.output_width} * decoder_.output_height * 3;
    const std::int64_t coefficients = std::int64_t{decoder_.image_width} * decoder_.image_height *
                                      decoder_.num_components * std::int64_t{sizeof(JCOEF)};
    return pixels + std::max(many_scans_ ? coefficients : 0, turned ? pixels : 0);
  }

  /// Makes libjpeg leave out columns beside a part, which becomes as wide as the rows that libjpeg gives from now on.
  void crop_columns(Region& part) {
    // At its edges, libjpeg upsamples chroma as if the image ended there: a part needs the next sample on either side.
    const auto margin = static_cast<JDIMENSION>(decoder_.max_h_samp_factor);
    const auto begin = static_cast<JDIMENSION>(part.left), end = begin + static_cast<JDIMENSION>(part.width);
    JDIMENSION first = begin - std::min(begin, margin);
    JDIMENSION count = std::min(end + margin, decoder_.output_width) - first;
    guarded([&] {
      if (count < decoder_.output_width) jpeg_crop_scanline(&decoder_, &first, &count);  // adds columns to fill blocks
    });
    part.left = static_cast<int>(first);
    part.width = static_cast<int>(decoder_.output_width);
  }

  /// @param part as wide as crop_columns has made it.
  Image read_rows(const Region& part, Scratch& scratch) {
    constexpr std::size_t max_rows = 16;
    const auto channels = static_cast<std::size_t>(decoder_.output_components);
    if (channels != 3 && channels != 4) {
      throw Error(fmt::format("corrupt JPEG: {} channels are decoded; 3 or 4 are allowed", channels),
                  ErrorCode::invalid_data);
    }
    const auto width = static_cast<std::size_t>(part.width), height = static_cast<std::size_t>(part.height);
    const auto top = static_cast<std::size_t>(part.top);
    Image image{.width = part.width, .height = part.height, .pixels = scratch.take(width * height * 3)};
    std::vector<std::uint8_t> cmyk = scratch.take(channels == 4 ? width * 4 * max_rows : 0);
    guarded([&] {
      if (top > 0) jpeg_skip_scanlines(&decoder_, static_cast<JDIMENSION>(top));
      while (decoder_.output_scanline < top + height) {
        std::uint8_t* out = &image.pixels[(decoder_.output_scanline - top) * width * 3];
        const std::size_t count = std::min(top + height - decoder_.output_scanline, max_rows);
        std::array<JSAMPROW, max_rows> rows{};
        for (std::size_t i = 0; i < count; ++i) rows[i] = channels == 4 ? &cmyk[i * width * 4] : out + i * width * 3;
        const JDIMENSION read = jpeg_read_scanlines(&decoder_, rows.data(), static_cast<JDIMENSION>(count));
        if (channels == 4) cmyk_to_rgb({cmyk.data(), read * width * 4}, out);
      }
      skip_rest();
    });
    scratch.give(std::move(cmyk));
    return image;
  }

  /// Skips the rows that remain. Their data are parsed, so that defects are found: when libjpeg is to skip all that
  /// remains it doesn't look at the data of a single scan, and so the last row is read.
  void skip_rest() {
    const JDIMENSION left = decoder_.output_height - decoder_.output_scanline;
    if (left == 0) return;
    if (many_scans_) {  // all data have been read
      jpeg_skip_scanlines(&decoder_, left);
      return;
    }
    if (left > 1) jpeg_skip_scanlines(&decoder_, left - 1);
    last_row_.resize(std::size_t{decoder_.output_width} * 4);
    JSAMPROW row = last_row_.data();
    jpeg_read_scanlines(&decoder_, &row, 1);
  }

  /// Whether the rows that were read are the complete image, for a file without an end marker. When a scan is cut off,
  /// libjpeg warns as soon as it needs bits that are missing (JWRN_HIT_MARKER, an error here), so that only missing
  /// scans remain to be checked.
  bool is_complete() const {
    if (decoder_.arith_code) return false;  // the standard has zeros follow the data: a cut isn't detectable
    if (!many_scans_) return true;
    const auto components = static_cast<unsigned>(decoder_.num_components);
    if (!decoder_.progressive_mode) return messages_.components_seen == (1U << components) - 1;
    return has_all_bits();
  }

  /// Whether the scans of a progressive JPEG give all bits of all coefficients.
  bool has_all_bits() const {
    for (int i = 0; i < decoder_.num_components; ++i) {
      const int(&bits_missing)[DCTSIZE2] = decoder_.coef_bits[i];
      if (std::any_of(std::begin(bits_missing), std::end(bits_missing), [](int bits) { return bits != 0; })) {
        return false;
      }
    }
    return true;
  }

  std::string warning() const {
    std::string all;
    for (std::size_t i = 0; i < tolerated.size(); ++i) {
      if (messages_.warnings[i][0] == '\0') continue;
      if (!all.empty()) all += "; ";
      all += tolerated[i] == JWRN_JPEG_EOF ? "the end marker is missing" : messages_.warnings[i].data();
    }
    return all;
  }

  j_common_ptr common() { return reinterpret_cast<j_common_ptr>(&decoder_); }

  Messages messages_;
  jpeg_progress_mgr progress_ = {};
  jpeg_decompress_struct decoder_ = {};
  std::vector<std::uint8_t> last_row_;
  bool many_scans_ = false;  ///< progressive, or one scan per component: decoded with all coefficients in memory
};

}  // namespace

#define FACET_TEXT(token) #token
#define FACET_TEXT_OF(macro) FACET_TEXT(macro)
std::string jpeg_library() { return "libjpeg-turbo " FACET_TEXT_OF(LIBJPEG_TURBO_VERSION); }

int jpeg_reduction(ImageSize whole, ImageSize size) {
  if (size.height < 1 || size.width < 1) return 1;
  const int ratio = std::min(whole.width / size.width, whole.height / size.height);
  for (const int by : {8, 4, 2}) {
    if (ratio >= by) return by;
  }
  return 1;
}

DecodedImage decode_jpeg(std::span<const std::uint8_t> bytes, const DecodeChoice& choose, Scratch& scratch) {
  return JpegDecoder().decode(bytes, choose, scratch);
}

}  // namespace facet::data
