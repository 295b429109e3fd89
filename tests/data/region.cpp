// Decoding a part of an image gives the pixels, the errors and the warnings of decoding all of it.
#include "data/decode/region.h"

#include <doctest/doctest.h>
#include <png.h>
#include <webp/encode.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/compress_with.h"
#include "data/decode/decode.h"
#include "data/decode/resize.h"
#include "data/make_jpeg.h"
#include "facet/source.h"
#include "testing.h"

using facet::Bytes;
using facet::compress;
using facet::compress_with;
using facet::contains;
using facet::error_of;
using facet::Image;
using facet::ImageSize;
using facet::ResizeMode;
using facet::data::DecodedImage;
using facet::data::DecodeRequest;
using facet::data::Region;

namespace {

struct Named {
  std::string name;
  Bytes bytes;
};

/// Returns JPEGs of all chroma subsamplings and kinds of coding.
std::vector<Named> jpegs_of(int width, int height) {
  const Image image = facet::noise(width, height);
  std::vector<Named> all;
  for (const auto& [across, down] : {std::pair{1, 1}, {2, 1}, {2, 2}, {1, 2}, {4, 1}}) {
    for (const char* kind : {"baseline", "progressive", "restarts", "arithmetic"}) {
      const auto change = [&, across = across, down = down](jpeg_compress_struct& encoder) {
        encoder.comp_info[0].h_samp_factor = across;
        encoder.comp_info[0].v_samp_factor = down;
        if (std::string(kind) == "progressive") jpeg_simple_progression(&encoder);
        if (std::string(kind) == "restarts") encoder.restart_interval = 3;
        encoder.arith_code = std::string(kind) == "arithmetic" ? TRUE : FALSE;
      };
      all.push_back({kind + (" " + std::to_string(across)) + "x" + std::to_string(down), compress_with(image, change)});
    }
  }
  const auto channels = [&](int count) {
    return Bytes(image.pixels.begin(), image.pixels.begin() + width * height * count);
  };
  for (const int flags : {0, int{TJFLAG_PROGRESSIVE}}) {
    all.push_back({"grey", compress(channels(1), width, height,
                                    {.format = TJPF_GRAY, .subsampling = TJSAMP_GRAY, .flags = flags})});
    Bytes cmyk = channels(3);
    cmyk.insert(cmyk.end(), cmyk.begin(), cmyk.begin() + width * height);
    for (const int subsampling : {TJSAMP_444, TJSAMP_420}) {
      all.push_back(
          {"CMYK", compress(cmyk, width, height, {.format = TJPF_CMYK, .subsampling = subsampling, .flags = flags})});
    }
  }
  Bytes odd_grey = all[all.size() - 3].bytes;  // a single component whose sampling factors aren't 1
  odd_grey[facet::find(odd_grey, {0xFF, 0xC2}) + 11] = 0x22;
  all.push_back({"progressive grey of 2x2", odd_grey});
  return all;
}

DecodedImage decode_part(const Bytes& bytes, ImageSize size, const Region& region) {
  facet::data::Scratch scratch;
  return decode_image(
      bytes, [&](ImageSize) { return DecodeRequest{.size = size, .region = region}; }, scratch);
}

Image cut(const Image& image, int left, int top, int width, int height) {
  Image part{.width = width, .height = height, .pixels = {}};
  for (int y = top; y < top + height; ++y) {
    const auto row = image.pixels.begin() + (y * image.width + left) * 3;
    part.pixels.insert(part.pixels.end(), row, row + width * 3);
  }
  return part;
}

/// Checks a region of a JPEG that is decoded at the scale 1 / `by`.
/// @param whole the whole image at that scale.
void check_part(const Bytes& bytes, const Image& whole, ImageSize least, int by, const Region& region) {
  CAPTURE(by);
  CAPTURE(region.left);
  CAPTURE(region.top);
  CAPTURE(region.width);
  CAPTURE(region.height);
  const DecodedImage part = decode_part(bytes, least, region);
  const int left = region.left / by, top = region.top / by;
  const int right = (region.left + region.width + by - 1) / by, bottom = (region.top + region.height + by - 1) / by;
  REQUIRE(part.placement.whole == ImageSize(whole.height, whole.width));
  // There may be more columns, which complete blocks, and rows where the axes are swapped.
  const int before = left - part.placement.left, above = top - part.placement.top;
  REQUIRE(before >= 0);
  REQUIRE(above >= 0);
  REQUIRE(part.image.width >= before + right - left);
  REQUIRE(part.image.height >= above + bottom - top);
  REQUIRE(part.placement.left + part.image.width <= whole.width);
  REQUIRE(part.placement.top + part.image.height <= whole.height);
  REQUIRE(cut(part.image, before, above, right - left, bottom - top).pixels ==
          cut(whole, left, top, right - left, bottom - top).pixels);
  REQUIRE(part.warning.empty());
}

/// Checks regions of a JPEG whose upright extents are width x height, at all scales.
void check_parts(const Bytes& bytes, int width, int height) {
  for (const int by : {1, 2, 4, 8}) {
    const ImageSize least = by == 1 ? ImageSize(0) : ImageSize(height / by, width / by);
    const Image whole = facet::data::decode_image(bytes, least).image;
    REQUIRE(whole.width == (width + by - 1) / by);
    REQUIRE(whole.height == (height + by - 1) / by);
    const auto check = [&](const Region& region) { check_part(bytes, whole, least, by, region); };
    check({0, 0, width, height});
    check({0, height - 1, width, 1});
    check({width - 1, 0, 1, height});
    for (int at = 0; at < 91; at += 13) check({at, at / 2, width - at, 40});
    for (int at = 1; at < 80; at += 11) check({at / 3, at, 40 + at / 3, 1 + at % 9});
    for (int at = 0; at < 40; at += 3) check({at, 2 * at, 1, 1 + at % 2});
    for (int at = 1; at < 35; at += 8) check({width - at, height - 2 * at, at, at});
  }
}

/// A source of one image.
class OneImage final : public facet::ImageSource {
 public:
  explicit OneImage(const Bytes& bytes) : bytes_(bytes) {}
  std::int64_t size() const override { return 1; }
  const std::vector<facet::Head>& heads() const override { return heads_; }
  std::span<const std::int32_t> labels(std::int64_t) const override { return labels_; }
  facet::EncodedImage read(std::int64_t) const override { return {.bytes = bytes_}; }
  std::string title() const override { return "one"; }
  std::string name(std::int64_t) const override { return "image"; }

 private:
  const Bytes& bytes_;
  std::vector<facet::Head> heads_{{"kind", {"a"}}};
  std::vector<std::int32_t> labels_{0};
};

Bytes loaded(const Bytes& bytes, ImageSize size, ResizeMode mode) {
  const facet::SourceDataset dataset(std::make_shared<OneImage>(bytes));
  Bytes pixels(static_cast<std::size_t>(size.height * size.width * 3));
  dataset.load({.index = 0, .size = size, .resize = mode}, pixels);
  return pixels;
}

/// Checks that an image is loaded as if it were decoded in full.
void check_load(const Bytes& bytes, ImageSize size) {
  const std::string target = to_string(size);
  CAPTURE(target);
  for (const ResizeMode mode : {ResizeMode::squash, ResizeMode::crop}) {
    Bytes pixels(static_cast<std::size_t>(size.height * size.width * 3));
    facet::resize(facet::data::decode_image(bytes, facet::covered_size(size, mode)).image, size, mode, pixels);
    REQUIRE(loaded(bytes, size, mode) == pixels);
  }
}

}  // namespace

TEST_CASE("a region of a JPEG has the pixels of the whole image, at each scale") {
  for (const auto& [width, height] : {std::pair{173, 131}, {96, 160}}) {
    for (const auto& [name, bytes] : jpegs_of(width, height)) {
      CAPTURE(name);
      check_parts(bytes, width, height);
    }
  }
}

TEST_CASE("a region lies in the upright image, whatever the EXIF orientation") {
  for (const int flags : {0, int{TJFLAG_PROGRESSIVE}}) {
    const Bytes jpeg = compress(facet::noise(149, 107), {.flags = flags});
    for (int orientation = 1; orientation <= 8; ++orientation) {
      CAPTURE(orientation);
      const bool swapped = facet::data::swaps_axes(orientation);
      check_parts(facet::with_orientation(jpeg, orientation), swapped ? 107 : 149, swapped ? 149 : 107);
    }
  }
}

TEST_CASE("turned_back is the inverse of turned") {
  const ImageSize stored(30, 50);
  const Region region{3, 7, 20, 10};
  CHECK(facet::data::turned(region, stored, 6) == Region{30 - 7 - 10, 3, 10, 20});
  CHECK(facet::data::turned(stored, 6) == ImageSize(50, 30));
  for (int orientation = 1; orientation <= 8; ++orientation) {
    CHECK(facet::data::turned_back(facet::data::turned(region, stored, orientation), stored, orientation) == region);
  }
}

TEST_CASE("an image is loaded as if it were decoded in full and then resized or cropped") {
  for (const auto& [width, height] : {std::pair{173, 131}, {131, 173}, {260, 301}, {16, 300}, {700, 9}, {3, 5}}) {
    CAPTURE(width);
    CAPTURE(height);
    for (const auto& [name, bytes] : jpegs_of(width, height)) {
      CAPTURE(name);
      for (const ImageSize size : {ImageSize(112), {56, 21}, {7, 50}, {1, 1}}) {
        check_load(bytes, size);
      }
    }
    for (int orientation = 1; orientation <= 8; ++orientation) {
      CAPTURE(orientation);
      const Bytes jpeg = facet::with_orientation(compress(facet::noise(width, height)), orientation);
      for (const ImageSize size : {ImageSize(112), {30, 30}, {56, 21}, {7, 50}}) check_load(jpeg, size);
    }
  }
}

TEST_CASE("a PNG and a WebP are loaded as if they were decoded in full") {
  for (const auto& [width, height] : {std::pair{173, 131}, {30, 200}}) {
    const Image image = facet::noise(width, height);
    std::uint8_t* encoded = nullptr;
    const std::size_t count = WebPEncodeRGB(image.pixels.data(), width, height, width * 3, 80, &encoded);
    const Bytes webp(encoded, encoded + count);
    WebPFree(encoded);
    png_image header{};
    header.version = PNG_IMAGE_VERSION;
    header.width = static_cast<png_uint_32>(width);
    header.height = static_cast<png_uint_32>(height);
    header.format = PNG_FORMAT_RGB;
    png_alloc_size_t bytes = 0;
    REQUIRE(png_image_write_get_memory_size(header, bytes, 0, image.pixels.data(), 0, nullptr) != 0);
    Bytes png(bytes);
    REQUIRE(png_image_write_to_memory(&header, png.data(), &bytes, 0, image.pixels.data(), 0, nullptr) != 0);
    for (const ImageSize size : {ImageSize(112), {21, 56}, {1, 1}}) {
      check_load(png, size);
      check_load(webp, size);
    }
  }
}

TEST_CASE("defects beside a region are found, and are the same as without a region") {
  const auto outcome = [](const auto& decode) {
    std::string warning;
    const std::string error = error_of([&] { warning = decode().warning; });
    return error + " / " + warning;
  };
  for (const auto& [name, whole] : jpegs_of(149, 107)) {
    CAPTURE(name);
    const auto check = [&](const Bytes& bytes) {
      const std::string expected = outcome([&] { return facet::data::decode_image(bytes, 0); });
      for (const Region& region : {Region{0, 0, 20, 3}, {60, 40, 30, 30}, {0, 104, 149, 3}, {148, 0, 1, 107}}) {
        CAPTURE(region.top);
        REQUIRE(outcome([&] { return decode_part(bytes, 0, region); }) == expected);
      }
      return expected;
    };
    CHECK(check(whole) == " / ");
    for (std::size_t length = 3; length < whole.size(); length += 1 + whole.size() / 31) {
      CAPTURE(length);
      const Bytes truncated(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
      CHECK(contains(check(truncated), "truncated JPEG"));
    }
    for (const std::size_t missing : {1, 2, 3, 4, 9, 30}) {
      CAPTURE(missing);
      check({whole.begin(), whole.end() - static_cast<std::ptrdiff_t>(missing)});
    }
    if (contains(name, "restarts")) {
      Bytes damaged = whole;
      for (std::size_t at = damaged.size() - 1; at > damaged.size() / 2; --at) {  // the last restart marker
        if (damaged[at - 1] != 0xFF || damaged[at] < 0xD0 || damaged[at] > 0xD7) continue;
        damaged[at] = static_cast<std::uint8_t>(0xD0 + (damaged[at] - 0xD0 + 4) % 8);
        break;
      }
      CHECK(contains(check(damaged), "corrupt JPEG"));
    }
  }
}

TEST_CASE("a progressive JPEG that lacks coefficients is smoothed the same in a region") {
  const auto change = [](jpeg_compress_struct& encoder) {
    jpeg_simple_progression(&encoder);
    encoder.num_scans = 1;  // the DC coefficients, without their last bit
  };
  check_load(compress_with(facet::waves(200, 150), change), 50);
  check_load(compress_with(facet::noise(200, 150), change), 112);
}

TEST_CASE("a region outside the image is an error, and so is a part that lacks pixels that are resized") {
  const Bytes jpeg = compress(facet::waves(40, 30));
  for (const Region& region : {Region{0, 0, 41, 30},
                               {0, 0, 40, 31},
                               {-1, 0, 5, 5},
                               {0, -1, 5, 5},
                               {39, 0, 2, 1},
                               {0, 0, 0, 5},
                               {0, 0, 5, 0},
                               {2147483647, 0, 2147483647, 1}}) {
    CHECK(contains(error_of([&] { decode_part(jpeg, 0, region); }), "of an image of 40x30"));
  }
  facet::data::Scratch scratch;
  Bytes pixels(10 * 10 * 3);
  const auto error = [&](int left, int top, int width, int height) {
    const Image part = cut(facet::waves(40, 30), left, top, width, height);
    return error_of([&] {
      facet::data::resize_image(part, {{30, 40}, left, top}, 10, ResizeMode::crop, pixels, scratch);
    });
  };
  const auto [left, top, width, height] = facet::data::resized_region({30, 40}, 10, ResizeMode::crop);
  CHECK(error(left, top, width, height).empty());
  CHECK(contains(error(left + 1, top, width, height), "lacks pixels"));
  CHECK(contains(error(left, top + 1, width, height), "lacks pixels"));
  CHECK(contains(error(left, top, width - 1, height), "lacks pixels"));
  CHECK(contains(error(left, top, width, height - 1), "lacks pixels"));
}
