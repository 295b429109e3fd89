#include <doctest/doctest.h>
#include <sys/stat.h>

#include <chrono>

#include "data/compress_with.h"
#include "data/decode/decode.h"
#include "data/make_jpeg.h"
#include "testing.h"

using facet::Bytes;
using facet::compress;
using facet::compress_with;
using facet::contains;
using facet::error_of;
using facet::Image;
using facet::JpegOptions;
using facet::data::decode_image;

namespace {

std::string reason(const Bytes& bytes, int size = 0) {
  return error_of([&] { decode_image(bytes, size); });
}

Image decode(const Bytes& bytes, int size = 0) { return decode_image(bytes, size).image; }

std::string warning(const Bytes& bytes, int size = 0) { return decode_image(bytes, size).warning; }

/// Returns the offset of the first scan's data.
std::size_t scan_data(const Bytes& jpeg) {
  const std::size_t marker = facet::find(jpeg, {0xFF, 0xDA});
  return marker + 2 + static_cast<std::size_t>(jpeg[marker + 2] << 8 | jpeg[marker + 3]);
}

Bytes first(const Bytes& bytes, std::size_t count) {
  return {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count)};
}

Bytes colour(int width, int height, const Bytes& pixel) {
  Bytes pixels;
  for (int i = 0; i < width * height; ++i) pixels.insert(pixels.end(), pixel.begin(), pixel.end());
  return pixels;
}

constexpr int one_scan_per_component = 1 << 30;  // in addition to TurboJPEG's flags

/// Returns a sequential JPEG with a scan for each component, made of three grey JPEGs.
Bytes make_three_scans() {
  const JpegOptions options{.format = TJPF_GRAY, .subsampling = TJSAMP_GRAY};
  Bytes whole;
  for (std::uint8_t component = 1; component <= 3; ++component) {
    Bytes grey;
    for (int i = 0; i < 64 * 48; ++i)
      grey.push_back(facet::noise(64, 48, component).pixels[static_cast<std::size_t>(3 * i)]);
    Bytes jpeg = compress(grey, 64, 48, options);
    const std::size_t scan = facet::find(jpeg, {0xFF, 0xDA});
    jpeg[scan + 5] = component;
    if (component == 1) {
      const std::size_t frame = facet::find(jpeg, {0xFF, 0xC0});
      whole = first(jpeg, scan);
      whole[frame + 3] = 17;
      whole[frame + 9] = 3;
      whole.insert(whole.begin() + static_cast<std::ptrdiff_t>(frame) + 13, {2, 0x11, 0, 3, 0x11, 0});
    }
    whole.insert(whole.end(), jpeg.begin() + static_cast<std::ptrdiff_t>(scan), jpeg.end() - 2);
  }
  whole.insert(whole.end(), {0xFF, 0xD9});
  return whole;
}

void check_near(const Image& image, const Bytes& rgb, int tolerance) {
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    REQUIRE(std::abs(int{image.pixels[i]} - int{rgb[i % 3]}) <= tolerance);
  }
}

}  // namespace

TEST_CASE("baseline and progressive JPEGs of all chroma subsamplings decode to the original image") {
  const Image image = facet::waves(61, 43);
  for (const int flags : {0, int{TJFLAG_PROGRESSIVE}}) {
    for (const int subsampling : {TJSAMP_444, TJSAMP_422, TJSAMP_420, TJSAMP_440, TJSAMP_411}) {
      CAPTURE(flags);
      CAPTURE(subsampling);
      const Image decoded = decode(compress(image, {.subsampling = subsampling, .flags = flags}));
      REQUIRE(decoded.width == 61);
      REQUIRE(decoded.height == 43);
      CHECK(facet::mean_difference(decoded.pixels, image.pixels) < 3);
    }
  }
}

TEST_CASE("grey becomes RGB of equal values") {
  Bytes grey;
  for (int i = 0; i < 40 * 24; ++i) grey.push_back(static_cast<std::uint8_t>(i % 40 * 5));
  const Image decoded =
      decode(compress(grey, 40, 24, {.format = TJPF_GRAY, .subsampling = TJSAMP_GRAY, .quality = 100}));
  REQUIRE(decoded.pixels.size() == 40 * 24 * 3);
  for (std::size_t i = 0; i < grey.size(); ++i) {
    for (std::size_t c = 0; c < 3; ++c) REQUIRE(std::abs(int{decoded.pixels[3 * i + c]} - int{grey[i]}) <= 2);
  }
}

TEST_CASE("YCCK and CMYK become RGB, and are taken as inverted with and without Adobe's marker") {
  const JpegOptions options{.format = TJPF_CMYK, .subsampling = TJSAMP_444, .quality = 100};
  // The stored values are 200, 100 and 50 for the colours and 204 for black.
  Bytes ycck = compress(colour(16, 16, {200, 100, 50, 204}), 16, 16, options);
  check_near(decode(ycck), {160, 80, 40}, 2);

  // With transform 0 the stored Y, Cb, Cr are taken as C, M, Y: 255 - 55, 128 and 128 for a grey.
  Bytes cmyk = compress(colour(16, 16, {55, 55, 55, 204}), 16, 16, options);
  const std::size_t adobe = facet::find(cmyk, {0xFF, 0xEE});
  REQUIRE(cmyk[adobe + 15] == 2);
  cmyk[adobe + 15] = 0;
  const int light = 204;
  check_near(decode(cmyk),
             {static_cast<std::uint8_t>(200 * light / 255), static_cast<std::uint8_t>(128 * light / 255),
              static_cast<std::uint8_t>(128 * light / 255)},
             2);

  cmyk.erase(cmyk.begin() + static_cast<std::ptrdiff_t>(adobe), cmyk.begin() + static_cast<std::ptrdiff_t>(adobe) + 16);
  check_near(decode(cmyk),
             {static_cast<std::uint8_t>(200 * light / 255), static_cast<std::uint8_t>(128 * light / 255),
              static_cast<std::uint8_t>(128 * light / 255)},
             2);
}

TEST_CASE("images of each EXIF orientation, in both byte orders, become upright") {
  const Image image = facet::waves(48, 32);
  const Bytes jpeg = compress(image, {.subsampling = TJSAMP_444});
  const Image stored = decode(jpeg);
  const auto at = [](const Image& from, int x, int y) {
    const auto i = static_cast<std::size_t>(3 * (y * from.width + x));
    return Bytes(from.pixels.begin() + static_cast<std::ptrdiff_t>(i),
                 from.pixels.begin() + static_cast<std::ptrdiff_t>(i) + 3);
  };
  // The positions of the stored image's 0th row and 0th column in the upright image (EXIF 2.32, tag 0x0112).
  struct Case {
    int orientation;
    bool row_is_vertical;  // the 0th row is at the left or right
    bool from_right;       // the stored first pixel is at the right
    bool from_below;
  };
  for (const Case& c : {Case{1, false, false, false}, Case{2, false, true, false}, Case{3, false, true, true},
                        Case{4, false, false, true}, Case{5, true, false, false}, Case{6, true, true, false},
                        Case{7, true, true, true}, Case{8, true, false, true}}) {
    for (const bool little : {true, false}) {
      CAPTURE(c.orientation);
      const Image shown = decode(facet::with_orientation(jpeg, c.orientation, little));
      REQUIRE(shown.width == (c.row_is_vertical ? 32 : 48));
      REQUIRE(shown.height == (c.row_is_vertical ? 48 : 32));
      for (const auto& [x, y] : {std::pair{0, 0}, std::pair{47, 0}, std::pair{0, 31}, std::pair{20, 9}}) {
        const int across = c.row_is_vertical ? y : x;
        const int down = c.row_is_vertical ? x : y;
        CHECK(at(shown, c.from_right ? shown.width - 1 - across : across,
                 c.from_below ? shown.height - 1 - down : down) == at(stored, x, y));
      }
    }
  }
}

TEST_CASE("an invalid EXIF block or orientation is ignored") {
  const Bytes jpeg = compress(facet::waves(16, 8));
  for (const int orientation : {0, 9, 255}) CHECK(decode(facet::with_orientation(jpeg, orientation)).width == 16);
  Bytes far = facet::with_orientation(jpeg, 6);
  far[2 + 4 + 6 + 7] = 0xFF;  // an offset of the directory beyond the block
  CHECK(decode(far).width == 16);
  for (const int at : {0, 1, 2}) {
    CAPTURE(at);
    Bytes other = facet::with_orientation(jpeg, 6);
    other[static_cast<std::size_t>(2 + 4 + 6 + at)] = 'X';  // not a TIFF file
    CHECK(decode(other).width == 16);
  }
}

TEST_CASE("JPEGs much larger than the size are decoded at 1/2, 1/4 or 1/8, never below the size") {
  const Bytes jpeg = compress(facet::waves(803, 401));
  const auto dimensions = [&](int size) {
    const Image image = decode(jpeg, size);
    return std::pair{image.width, image.height};
  };
  CHECK(dimensions(0) == std::pair{803, 401});
  CHECK(dimensions(401) == std::pair{803, 401});
  CHECK(dimensions(201) == std::pair{803, 401});
  CHECK(dimensions(200) == std::pair{402, 201});
  CHECK(dimensions(101) == std::pair{402, 201});
  CHECK(dimensions(100) == std::pair{201, 101});
  CHECK(dimensions(50) == std::pair{101, 51});
  CHECK(dimensions(1) == std::pair{101, 51});
  const Image turned = decode(facet::with_orientation(jpeg, 6), 100);
  CHECK(turned.width == 101);
  CHECK(turned.height == 201);
  // Each side of the upright image is compared with its own extent.
  const auto sizes = [&](int orientation, facet::ImageSize size) {
    const Image image = decode_image(facet::with_orientation(jpeg, orientation), size).image;
    return std::pair{image.width, image.height};
  };
  CHECK(sizes(1, {50, 200}) == std::pair{201, 101});
  CHECK(sizes(1, {50, 201}) == std::pair{402, 201});
  CHECK(sizes(1, {101, 200}) == std::pair{402, 201});
  CHECK(sizes(1, {201, 50}) == std::pair{803, 401});
  for (const int orientation : {5, 6, 7, 8}) {
    CAPTURE(orientation);
    CHECK(sizes(orientation, {200, 50}) == std::pair{101, 201});
    CHECK(sizes(orientation, {201, 50}) == std::pair{201, 402});
    CHECK(sizes(orientation, {200, 101}) == std::pair{201, 402});
    CHECK(sizes(orientation, {50, 201}) == std::pair{401, 803});
  }
  const Image tiny = decode(compress(facet::waves(3, 2)), 1);
  CHECK(tiny.width == 2);
  CHECK(tiny.height == 1);
}

TEST_CASE("a JPEG that is truncated anywhere before its end marker is an error that says so") {
  for (const int flags : {0, int{TJFLAG_PROGRESSIVE}, int{TJFLAG_PROGRESSIVE} | one_scan_per_component}) {
    const Bytes jpeg =
        flags & one_scan_per_component ? make_three_scans() : compress(facet::noise(64, 64), {.flags = flags});
    const std::size_t scan = scan_data(jpeg);
    for (const std::size_t length : {std::size_t{3}, std::size_t{10}, scan / 2, scan - 1, scan, scan + 1, scan + 50,
                                     (scan + jpeg.size()) / 2, jpeg.size() - 100, jpeg.size() - 4, jpeg.size() - 3}) {
      CAPTURE(flags);
      CAPTURE(length);
      const std::string message = reason(first(jpeg, length));
      CHECK(contains(message, "truncated JPEG"));
      CHECK(!contains(message, "\n"));
      CHECK(contains(reason(first(jpeg, length), 8), "truncated JPEG"));
    }
    CHECK(warning(jpeg).empty());
  }
}

TEST_CASE("a JPEG without its end marker gives the same pixels and a warning") {
  for (const Bytes& jpeg :
       {compress(facet::noise(64, 64)), compress(facet::noise(61, 43), {.flags = TJFLAG_PROGRESSIVE}),
        compress(facet::waves(17, 3), {.flags = TJFLAG_PROGRESSIVE}), make_three_scans()}) {
    for (const std::size_t cut : {1U, 2U}) {
      const auto decoded = decode_image(first(jpeg, jpeg.size() - cut), 0);
      CHECK(decoded.warning == "the end marker is missing");
      CHECK(decoded.image.pixels == decode(jpeg).pixels);
      CHECK(warning(first(jpeg, jpeg.size() - cut), 8) == "the end marker is missing");
    }
  }
}

TEST_CASE("a JPEG whose last scans are missing is truncated") {
  const Bytes three = make_three_scans();
  const Bytes progressive = compress(facet::noise(64, 64), {.flags = TJFLAG_PROGRESSIVE});
  for (const Bytes& jpeg : {three, progressive}) {
    std::size_t scans = 0;
    for (std::size_t at = scan_data(jpeg); at + 1 < jpeg.size(); ++at) {
      if (jpeg[at] != 0xFF || jpeg[at + 1] == 0x00 || jpeg[at + 1] == 0xD9) continue;
      ++scans;  // a marker between scans: here a scan is complete
      CHECK(contains(reason(first(jpeg, at)), "truncated JPEG"));
      at += 1 + static_cast<std::size_t>(jpeg[at + 2] << 8 | jpeg[at + 3]);
    }
    CHECK(scans >= 2);
  }
}

TEST_CASE("an arithmetic-coded JPEG needs its end marker, without which truncation isn't detectable") {
  const Bytes jpeg =
      compress_with(facet::noise(64, 64), [](jpeg_compress_struct& encoder) { encoder.arith_code = TRUE; });
  CHECK(warning(jpeg).empty());
  CHECK(contains(reason(first(jpeg, jpeg.size() - 2)), "truncated JPEG"));
  CHECK(contains(reason(first(jpeg, jpeg.size() / 2)), "truncated JPEG"));
}

TEST_CASE("restart markers that are missing or out of order are errors") {
  const Bytes jpeg =
      compress_with(facet::noise(64, 64), [](jpeg_compress_struct& encoder) { encoder.restart_in_rows = 1; });
  CHECK(warning(jpeg).empty());
  Bytes missing = jpeg, wrong = jpeg;
  const std::size_t restart = facet::find(jpeg, {0xFF, 0xD1});
  missing.erase(missing.begin() + static_cast<std::ptrdiff_t>(restart),
                missing.begin() + static_cast<std::ptrdiff_t>(restart) + 2);
  wrong[restart + 1] = 0xD5;
  CHECK(contains(reason(missing), "corrupt JPEG"));
  CHECK(contains(reason(wrong), "corrupt JPEG"));
}

TEST_CASE("a JPEG of more than 500 scans is refused") {
  const Bytes jpeg = make_three_scans();
  const auto at = [&](std::size_t place) { return jpeg.begin() + static_cast<std::ptrdiff_t>(place); };
  const std::size_t scan = facet::find(jpeg, {0xFF, 0xDA});
  const std::size_t next = scan + 2 + facet::find(Bytes(at(scan + 2), jpeg.end()), {0xFF, 0xDA});
  Bytes many = jpeg;
  for (int i = 0; i < 600; ++i) many.insert(many.end() - 2, at(scan), at(next));
  CHECK(reason(many) == "is a JPEG of more than 500 scans; at most 500 are allowed");
}

TEST_CASE("empty files, other formats and damaged data give different errors") {
  CHECK(reason({}) == "is empty");
  CHECK(contains(reason({0xFF}), "unknown format"));
  CHECK(contains(reason({0xFF, 0xD8, 0xFF, 0xD9}), "corrupt JPEG: JPEG datastream contains no image"));
  CHECK(contains(reason({0xFF, 0xD8, 0xFF, 0xE0, 0, 1, 0, 0}), "truncated JPEG"));

  const Bytes jpeg = compress(facet::noise(64, 64));
  Bytes holed = jpeg;
  const std::size_t middle = (scan_data(jpeg) + jpeg.size()) / 2;
  holed[middle] = 0xFF;
  holed[middle + 1] = 0xD9;
  CHECK(contains(reason(holed), "corrupt JPEG"));

  Bytes without_tables = jpeg;
  without_tables[facet::find(jpeg, {0xFF, 0xDB}) + 1] = 0xEF;
  CHECK(!reason(without_tables).empty());
}

TEST_CASE("a frame that takes too much memory is refused before it is allocated") {
  Bytes jpeg = compress(facet::waves(16, 16));
  const std::size_t frame = facet::find(jpeg, {0xFF, 0xC0});
  for (std::size_t i = 5; i < 9; ++i) jpeg[frame + i] = 0xFE;
  CHECK(contains(reason(jpeg), "decoding 65278x65278 pixels takes 12783651852 bytes of memory; at most 2147483648"));
  CHECK(!contains(reason(jpeg, 100), "bytes of memory"));  // decoded at 1/8, line by line
}

TEST_CASE("the memory limit includes the coefficients of progressive JPEGs and of JPEGs with a scan per component") {
  Bytes progressive = compress(facet::waves(16, 16), {.flags = TJFLAG_PROGRESSIVE});
  const std::size_t frame = facet::find(progressive, {0xFF, 0xC2});
  for (std::size_t i = 5; i < 9; ++i) progressive[frame + i] = 0x60;
  // 3 components of 24672x24672 coefficients of 2 bytes, and the pixels at 1/8.
  CHECK(contains(reason(progressive, 100), "decoding 24672x24672 pixels takes 3680778672 bytes of memory"));

  Bytes one_each = make_three_scans();
  const std::size_t sequential = facet::find(one_each, {0xFF, 0xC0});
  for (std::size_t i = 5; i < 9; ++i) one_each[sequential + i] = 0x60;
  CHECK(contains(reason(one_each, 100), "decoding 24672x24672 pixels takes 3680778672 bytes of memory"));
}

TEST_CASE("lossless and hierarchical JPEGs, and JPEGs not of 8 bits per sample, are refused at any size") {
  const Bytes baseline = compress(facet::waves(64, 48));
  const Bytes progressive = compress(facet::waves(64, 48), {.flags = TJFLAG_PROGRESSIVE});
  const auto with_marker = [](Bytes jpeg, std::uint8_t from, std::uint8_t marker) {
    jpeg[facet::find(jpeg, {0xFF, from}) + 1] = marker;
    return jpeg;
  };
  const std::string others = "; baseline, extended and progressive JPEGs are allowed";
  for (const int size : {0, 1, 8, 24, 100}) {
    CAPTURE(size);
    for (const auto& jpeg : {std::pair(baseline, std::uint8_t{0xC0}), std::pair(progressive, std::uint8_t{0xC2})}) {
      const auto refusal = [&](std::uint8_t marker) {
        return reason(with_marker(jpeg.first, jpeg.second, marker), size);
      };
      CHECK(refusal(0xC3) == "is a lossless JPEG (marker 0xC3)" + others);
      CHECK(refusal(0xC5) == "is a hierarchical JPEG (marker 0xC5)" + others);
      CHECK(refusal(0xC6) == "is a hierarchical JPEG (marker 0xC6)" + others);
      CHECK(refusal(0xC7) == "is a lossless, hierarchical JPEG (marker 0xC7)" + others);
      CHECK(refusal(0xCB) == "is a lossless JPEG (marker 0xCB)" + others);
      CHECK(refusal(0xCD) == "is a hierarchical JPEG (marker 0xCD)" + others);
      CHECK(refusal(0xCE) == "is a hierarchical JPEG (marker 0xCE)" + others);
      CHECK(refusal(0xCF) == "is a lossless, hierarchical JPEG (marker 0xCF)" + others);
      CHECK(refusal(0xDE) == "is a hierarchical JPEG (marker 0xDE)" + others);
      CHECK(refusal(0xF7) == "is a JPEG-LS (marker 0xF7)" + others);
      // These markers don't match the data: the result is an error or arbitrary pixels, within their buffer.
      for (const std::uint8_t marker : {0xC1, 0xC2, 0xC9, 0xCA}) refusal(marker);
    }
    for (const std::uint8_t bits : {0, 2, 7, 9, 12, 16, 255}) {
      for (const auto& [jpeg, marker] : {std::pair(baseline, 0xC0), std::pair(progressive, 0xC2)}) {
        Bytes odd = jpeg;
        odd[facet::find(odd, {0xFF, static_cast<std::uint8_t>(marker)}) + 4] = bits;
        CHECK(reason(odd, size) == "is a JPEG of " + std::to_string(bits) + " bits per sample; 8 are allowed");
      }
    }
  }
  CHECK(decode(with_marker(baseline, 0xC0, 0xC1)).pixels == decode(baseline).pixels);
}

TEST_CASE("an uncommon chroma subsampling is decoded") {
  Bytes jpeg = compress(facet::waves(8, 8));
  const std::size_t frame = facet::find(jpeg, {0xFF, 0xC0});
  REQUIRE(jpeg[frame + 11] == 0x22);
  jpeg[frame + 11] = 0x14;  // 1x4: the same number of blocks; one MCU is the whole image in both cases
  CHECK(decode(jpeg).pixels.size() == 8 * 8 * 3);
  CHECK(decode(jpeg, 2).pixels.size() == 2 * 2 * 3);
}

TEST_CASE("the memory limit counts the pixels of an image that must be rotated twice") {
  const auto large = [](Bytes jpeg) {
    const std::size_t frame = facet::find(jpeg, {0xFF, 0xC0});
    for (std::size_t i = 5; i < 9; ++i) jpeg[frame + i] = 0x60;
    return reason(jpeg);
  };
  const Bytes upright = compress(facet::waves(16, 16));
  CHECK(!contains(large(upright), "bytes of memory"));
  CHECK(contains(large(facet::with_orientation(upright, 3)), "decoding 24672x24672 pixels takes 3652245504 bytes"));
}

TEST_CASE("a sequential scan whose spectral parameters are zero is read with a warning") {
  const Bytes jpeg = compress(facet::waves(16, 16));
  Bytes odd = jpeg;
  const std::size_t scan = scan_data(jpeg);
  odd[scan - 2] = 0;
  REQUIRE(odd != jpeg);
  CHECK(decode(odd).pixels == decode(jpeg).pixels);
  CHECK(contains(warning(odd), "Invalid SOS parameters"));
}

TEST_CASE("a file that is not regular, too large or of another format is refused without reading all of it") {
  const facet::TemporaryFolder folder;
  const auto error = [&](const char* name) { return error_of([&] { facet::read_image(folder / name); }); };
  REQUIRE(::mkfifo((folder / "fifo.jpg").c_str(), 0600) == 0);
  CHECK(error("fifo.jpg") == (folder / "fifo.jpg").string() + ": is not a regular file");
  CHECK(error_of([] { facet::read_image("/dev/zero"); }) == "/dev/zero: is not a regular file");

  constexpr std::uintmax_t max_bytes = std::uintmax_t{1} << 30;
  facet::save(folder / "hole.jpg", {});
  std::filesystem::resize_file(folder / "hole.jpg", max_bytes);
  const auto begin = std::chrono::steady_clock::now();
  CHECK(contains(error("hole.jpg"), ": is a file of zeros; JPEG, PNG and WebP can be read"));
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(100));
  facet::save(folder / "large.jpg", {0xFF, 0xD8, 0xFF});
  std::filesystem::resize_file(folder / "large.jpg", 200 * max_bytes);
  CHECK(contains(error("large.jpg"), "is 214748364800 bytes long; at most 1073741824 are allowed"));
}

TEST_CASE("read_image names the file in errors and returns warnings") {
  const facet::TemporaryFolder folder;
  facet::save(folder / "a.jpg", compress(facet::waves(20, 10)));
  facet::save(folder / "b.jpg", {});
  CHECK(facet::read_image(folder / "a.jpg").width == 20);
  CHECK(facet::read_image(folder / "a.jpg", 5).width == 10);
  CHECK(error_of([&] { facet::read_image(folder / "b.jpg"); }) == (folder / "b.jpg").string() + ": is empty");
  CHECK(error_of([&] { facet::read_image(folder / "c.jpg"); }) == (folder / "c.jpg").string() + ": no such file");
  CHECK(contains(error_of([&] { facet::read_image(folder.path()); }), "is a folder"));
  std::string warning = "old";
  facet::read_image(folder / "a.jpg", 0, &warning);
  CHECK(warning.empty());
  const Bytes jpeg = compress(facet::waves(20, 10));
  facet::save(folder / "d.jpg", first(jpeg, jpeg.size() - 2));
  facet::read_image(folder / "d.jpg", 0, &warning);
  CHECK(warning == "the end marker is missing");
}
