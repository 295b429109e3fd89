#include "data/decode/decode.h"

#include <doctest/doctest.h>
#include <png.h>
#include <webp/encode.h>

#include <cstdlib>
#include <optional>
#include <string_view>

#include "data/make_jpeg.h"
#include "testing.h"

using facet::Bytes;
using facet::contains;
using facet::error_of;
using facet::Image;
using facet::data::decode_image;
using namespace std::string_view_literals;

namespace {

Bytes bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

std::string reason(const Bytes& bytes, int size = 0) {
  return error_of([&] { decode_image(bytes, size); });
}

/// @param format one of libpng's PNG_FORMAT_*, with 8 or 16 bits.
Bytes to_png(const Bytes& pixels, unsigned width, unsigned height, unsigned format) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = width;
  image.height = height;
  image.format = format;
  png_alloc_size_t size = 0;
  REQUIRE(png_image_write_get_memory_size(image, size, 0, pixels.data(), 0, nullptr) != 0);
  Bytes png(size);
  REQUIRE(png_image_write_to_memory(&image, png.data(), &size, 0, pixels.data(), 0, nullptr) != 0);
  return png;
}

Bytes to_png(const Image& image) {
  return to_png(image.pixels, static_cast<unsigned>(image.width), static_cast<unsigned>(image.height), PNG_FORMAT_RGB);
}

Bytes to_webp(const Image& image, bool lossless) {
  std::uint8_t* encoded = nullptr;
  const std::size_t size =
      lossless ? WebPEncodeLosslessRGB(image.pixels.data(), image.width, image.height, image.width * 3, &encoded)
               : WebPEncodeRGB(image.pixels.data(), image.width, image.height, image.width * 3, 80, &encoded);
  const Bytes webp(encoded, encoded + size);
  WebPFree(encoded);
  return webp;
}

std::uint32_t u32(const Bytes& bytes, std::size_t at) {
  return std::uint32_t{bytes[at]} << 24 | std::uint32_t{bytes[at + 1]} << 16 | std::uint32_t{bytes[at + 2]} << 8 |
         bytes[at + 3];
}

void set_u32(Bytes& bytes, std::size_t at, std::uint32_t value) {
  for (std::size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<std::uint8_t>(value >> (24 - 8 * i));
}

/// Corrects the checksums of a PNG's chunks as far as the chunks can be parsed, so that damage reaches the code that
/// reads their contents.
void set_checksums(Bytes& png) {
  for (std::size_t at = 8; at + 12 <= png.size();) {
    const std::size_t length = u32(png, at);
    if (length > png.size() - at - 12) return;
    std::uint32_t sum = 0xFFFFFFFF;
    for (std::size_t i = at + 4; i < at + 8 + length; ++i) {
      sum ^= png[i];
      for (int bit = 0; bit < 8; ++bit) sum = sum >> 1 ^ (sum & 1 ? 0xEDB88320U : 0);
    }
    set_u32(png, at + 8 + length, ~sum);
    at += 12 + length;
  }
}

/// Pseudo-random numbers from a seed (xorshift).
class Draw {
 public:
  explicit Draw(std::uint32_t seed) : state_(seed * 2654435761U + 88172645U) {}
  std::size_t below(std::size_t limit) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 17;
    state_ ^= state_ << 5;
    return state_ % limit;
  }

 private:
  std::uint32_t state_;
};

/// Returns the file with bytes changed, set to values that formats use for markers and lengths, removed, duplicated, or
/// truncated.
Bytes mutated(Bytes bytes, std::uint32_t seed) {
  constexpr std::array<std::uint8_t, 8> telling{0x00, 0x01, 0x7F, 0x80, 0xFF, 0xD9, 0xDA, 0xC4};
  Draw draw(seed);
  for (std::size_t left = 1 + draw.below(4); left > 0 && bytes.size() > 16; --left) {
    // Most errors are in the headers, which are small.
    const std::size_t at = draw.below(draw.below(2) == 0 ? bytes.size() : std::min<std::size_t>(bytes.size(), 200));
    const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    const auto run = static_cast<std::ptrdiff_t>(1 + draw.below(std::min<std::size_t>(16, bytes.size() - at)));
    switch (draw.below(6)) {
      case 0:
        bytes[at] = static_cast<std::uint8_t>(draw.below(256));
        break;
      case 1:
        bytes[at] = telling[draw.below(telling.size())];
        break;
      case 2:
        bytes[at] = static_cast<std::uint8_t>(bytes[at] ^ 1U << draw.below(8));
        break;
      case 3:
        bytes.erase(place, place + run);
        break;
      case 4: {
        const Bytes copy(place, place + run);
        bytes.insert(place, copy.begin(), copy.end());
        break;
      }
      default:
        if (draw.below(4) == 0) bytes.resize(at);
    }
  }
  return bytes;
}

/// Decodes an image into a buffer of `pixels` bytes that another image has left.
Bytes decode_after_another(const Bytes& bytes, int size, std::size_t pixels) {
  facet::data::Scratch scratch;
  scratch.give(Bytes(pixels, 0xAA));
  return decode_image(bytes, size, scratch).image.pixels;
}

/// Decodes the middle of an image.
/// @param needed becomes the region that was asked for, at the scale that is decoded, where a decoder asks for one.
facet::data::DecodedImage decode_middle(const Bytes& bytes, int size,
                                        std::optional<facet::data::Region>* needed = nullptr) {
  facet::data::Scratch scratch;
  const auto middle = [&](facet::ImageSize whole) {
    const facet::data::Region region{whole.width / 4, whole.height / 4, (whole.width + 1) / 2, (whole.height + 1) / 2};
    if (needed) *needed = facet::data::reduced(region, facet::data::jpeg_reduction(whole, size));
    return facet::data::DecodeRequest{.size = size, .region = region};
  };
  return decode_image(bytes, middle, scratch);
}

bool part_equals_whole(const Bytes& bytes, int size, const Image& whole) {
  std::optional<facet::data::Region> asked;
  const auto [part, placement, warning] = decode_middle(bytes, size, &asked);
  if (placement.whole != facet::ImageSize(whole.height, whole.width)) return false;
  const auto [left, top, width, height] =
      asked.value_or(facet::data::Region{placement.left, placement.top, part.width, part.height});
  for (int y = top; y < top + height; ++y) {
    const auto row = part.pixels.begin() + (std::ptrdiff_t{y - placement.top} * part.width + left - placement.left) * 3;
    const auto from = whole.pixels.begin() + (std::ptrdiff_t{y} * whole.width + left) * 3;
    if (!std::equal(row, row + std::ptrdiff_t{width} * 3, from)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("a file that is not JPEG, PNG or WebP is an error that names its format") {
  const auto name = [](std::string_view bytes) {
    const std::string message = reason(bytes_of(bytes));
    const std::string end = "; JPEG, PNG and WebP can be read";
    REQUIRE(message.starts_with("is "));
    REQUIRE(message.ends_with(end));
    return message.substr(3, message.size() - 3 - end.size());
  };
  CHECK(reason({}) == "is empty");
  CHECK(name("GIF89a"sv) == "a GIF");
  CHECK(name("BM\x36\0\0\0\0\0\0\0\x36\0\0\0"sv) == "a BMP");
  CHECK(name("BMW and others"sv) == "text");
  CHECK(name("II*\0\x08\0\0\0"sv) == "a TIFF");
  CHECK(name("MM\0*\0\0\0\x08"sv) == "a TIFF");
  CHECK(name("\0\0\0\x18"
             "ftypheic\0\0\0\0mif1heic"sv) == "a HEIC");
  CHECK(name("\0\0\0\x1C"
             "ftypavif\0\0\0\0"sv) == "an AVIF");
  CHECK(name("\0\0\0\x1C"
             "ftypisom\0\0\0\0"sv) == "a video, or another file of MP4's family");
  CHECK(name("\0\0\0\x0CJXL \r\n\x87\n"sv) == "a JPEG XL");
  CHECK(name("\0\0\0\x0CjP  \r\n\x87\n"sv) == "a JPEG 2000");
  CHECK(name("%PDF-1.4\n"sv) == "a PDF");
  CHECK(name("PK\3\4\x14"sv) == "a ZIP archive");
  CHECK(name("RIFF\x24\0\0\0WAVEfmt "sv) == "a RIFF file that is not WebP");
  CHECK(name("\n <!DOCTYPE html><html><head>"sv) == "an HTML page");
  CHECK(name("\xEF\xBB\xBF<HTML lang='en'>"sv) == "an HTML page");
  CHECK(name("<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>"sv) == "an SVG");
  CHECK(name("<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"sv) == "an XML file");
  CHECK(name("version https://git-lfs.github.com/spec/v1\n"sv) == "a pointer to a file in Git LFS");
  CHECK(name("404: Not Found"sv) == "text");
  std::string long_text;
  while (long_text.size() < 600)
    long_text +=
        "Stra\xC3\x9F"
        "e, ";
  for (std::size_t cut = 0; cut < 4; ++cut) CHECK(name(std::string_view(long_text).substr(cut == 0 ? 0 : 8)) == "text");
  CHECK(name(std::string(4096, '\0')) == "a file of zeros");
  CHECK(name("\x01\x02\x03\x04"sv) == "a file of an unknown format");
  CHECK(name("\xE9t\xE9"sv) == "a file of an unknown format");
}

TEST_CASE("the format is detected from the content; pixels of PNG and of lossless WebP are exact") {
  const facet::TemporaryFolder folder;
  const Image image = facet::noise(37, 23);
  facet::save(folder / "a.jpg", to_png(image));
  facet::save(folder / "b.jpeg", to_webp(image, true));
  facet::save(folder / "c", to_webp(facet::waves(64, 48), false));
  for (const char* name : {"a.jpg", "b.jpeg"}) {
    const Image read = facet::read_image(folder / name, 1);
    CHECK(read.width == 37);
    CHECK(read.height == 23);
    CHECK(read.pixels == image.pixels);
  }
  CHECK(facet::mean_difference(facet::read_image(folder / "c").pixels, facet::waves(64, 48).pixels) < 3);
}

TEST_CASE("alpha is dropped as in Pillow, and samples of 16 bits are reduced to the high byte") {
  const Bytes clear = to_png({10, 20, 30, 0, 40, 50, 60, 128}, 2, 1, PNG_FORMAT_RGBA);
  CHECK(decode_image(clear, 0).image.pixels == Bytes{10, 20, 30, 40, 50, 60});
  const Bytes grey = to_png({7, 0, 200, 255}, 2, 1, PNG_FORMAT_GA);
  CHECK(decode_image(grey, 0).image.pixels == Bytes{7, 7, 7, 200, 200, 200});
}

TEST_CASE("images that take too much memory are refused before they are allocated") {
  Bytes png = to_png(facet::waves(16, 16));
  set_u32(png, 16, 900'000);
  set_u32(png, 20, 900'000);
  set_checksums(png);
  CHECK(contains(reason(png), "decoding 900000x900000 pixels takes 4860000000000 bytes of memory; at most 2147483648"));
  set_u32(png, 16, 0x7FFFFFFF);
  set_checksums(png);
  CHECK(contains(reason(png), "corrupt PNG: "));

  // An extended WebP: a canvas of 2^24 pixels a side, and a frame that fills little of it.
  const Image frame = facet::waves(16, 16);
  const Bytes still = to_webp(frame, true);
  Bytes webp = bytes_of(
      "RIFF\0\0\0\0WEBPVP8X\x0A\0\0\0\2\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF"
      "ANIM\6\0\0\0\0\0\0\0\0\0ANMF"sv);
  const std::size_t pixels = still.size() - 12;
  const auto append = [&](std::size_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) webp.push_back(static_cast<std::uint8_t>(value >> 8 * i));
  };
  append(16 + pixels, 4);
  append(0, 6);  // the frame's position
  append(15, 3);
  append(15, 3);
  append(0, 4);  // the frame's duration
  webp.insert(webp.end(), still.begin() + 12, still.end());
  for (std::size_t i = 0; i < 4; ++i) webp[4 + i] = static_cast<std::uint8_t>((webp.size() - 8) >> 8 * i);
  CHECK(!reason(webp).empty());  // libwebp may refuse it by itself
  for (const std::size_t side : {27, 30}) webp[side - 1] = 0;
  webp[28] = 0x7F;
  CHECK(contains(reason(webp), "decoding 65536x32768 pixels takes 12884901888 bytes of memory; at most 2147483648"));
  for (const std::size_t at : {24, 25, 27, 28}) webp[at] = at % 3 == 0 ? 63 : 0;
  const Image image = decode_image(webp, 0).image;
  REQUIRE(image.pixels.size() == 64 * 64 * 3);
  CHECK(Bytes(image.pixels.begin(), image.pixels.begin() + 16 * 3) ==
        Bytes(frame.pixels.begin(), frame.pixels.begin() + 16 * 3));
  CHECK(Bytes(image.pixels.begin() + 16 * 3, image.pixels.begin() + 64 * 3) == Bytes(48 * 3));  // black margin
  CHECK(decode_after_another(webp, 0, image.pixels.size()) == image.pixels);
}

TEST_CASE("a PNG or WebP that is truncated anywhere is an error that says so") {
  const Image image = facet::noise(40, 30);
  for (const Bytes& whole : {to_png(image), to_webp(image, false), to_webp(image, true)}) {
    REQUIRE(reason(whole).empty());
    // Without its last bytes, the end chunk, a PNG still has all pixels.
    for (std::size_t length = 16; length + 24 < whole.size(); length += 1 + whole.size() / 97) {
      CAPTURE(length);
      CHECK(contains(reason({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)}), "truncated "));
    }
  }
}

TEST_CASE("2,000 damaged files of each format give errors, or pixels of their size") {
  const Image image = facet::waves(61, 43);
  Bytes grey;
  for (const std::uint8_t value : facet::noise(61, 43).pixels) grey.push_back(value);
  std::vector<std::uint16_t> deep(61 * 43 * 4, 30'000);
  const Bytes deep_bytes(reinterpret_cast<const std::uint8_t*>(deep.data()),
                         reinterpret_cast<const std::uint8_t*>(deep.data() + deep.size()));
  const std::vector<std::pair<const char*, Bytes>> kinds{
      {"JPEG", facet::compress(image)},
      {"progressive JPEG", facet::compress(image, {.flags = TJFLAG_PROGRESSIVE})},
      {"JPEG with EXIF", facet::with_orientation(facet::compress(image), 6)},
      {"CMYK", facet::compress(Bytes(61 * 43 * 4, 99), 61, 43, {.format = TJPF_CMYK, .subsampling = TJSAMP_444})},
      {"PNG", to_png(image)},
      {"grey PNG", to_png(grey, 61, 43, PNG_FORMAT_GRAY)},
      {"16-bit PNG", to_png(deep_bytes, 61, 43, PNG_FORMAT_LINEAR_RGB_ALPHA)},
      {"WebP", to_webp(image, false)},
      {"lossless WebP", to_webp(image, true)}};
  for (const auto& [kind, whole] : kinds) {
    CAPTURE(kind);
    REQUIRE(reason(whole).empty());
    int read = 0, refused = 0;
    for (std::uint32_t seed = 0; seed < 2000; ++seed) {
      CAPTURE(seed);
      Bytes bytes = mutated(whole, seed);
      if (std::string_view(kind).ends_with("PNG") && seed % 4 != 0) set_checksums(bytes);
      try {
        const int size = static_cast<int>(seed % 3) * 20;
        const Image decoded = decode_image(bytes, size).image;
        REQUIRE(decoded.pixels.size() ==
                std::size_t{3} * static_cast<std::size_t>(decoded.width) * static_cast<std::size_t>(decoded.height));
        REQUIRE(decode_after_another(bytes, size, decoded.pixels.size()) == decoded.pixels);
        REQUIRE(part_equals_whole(bytes, size, decoded));
        ++read;
      } catch (const facet::Error& error) {
        REQUIRE(std::string_view(error.what()).size() > 5);
        REQUIRE(error_of([&] { decode_middle(bytes, static_cast<int>(seed % 3) * 20); }) == error.what());
        ++refused;
      }
    }
    CHECK(read > 20);
    CHECK(refused > 500);
  }
}
