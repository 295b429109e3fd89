#include "data/jpeg.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <chrono>

#include "data/make_jpeg.h"
#include "temporary_folder.h"

using facet::Bytes;
using facet::compress;
using facet::error_of;
using facet::contains;
using facet::Image;
using facet::JpegOptions;
using facet::data::decode_jpeg;

namespace {

std::string reason(Bytes bytes, int size = 0) {
  return error_of([&] { decode_jpeg(bytes, size); });
}

Image decode(Bytes bytes, int size = 0) { return decode_jpeg(bytes, size); }

/// Where the first scan's data begin.
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

void check_near(const Image& image, const Bytes& rgb, int tolerance) {
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    REQUIRE(std::abs(int{image.pixels[i]} - int{rgb[i % 3]}) <= tolerance);
  }
}

}  // namespace

TEST_CASE("baseline and progressive JPEGs of all samplings decode to the image that they were made of") {
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

TEST_CASE("YCCK and CMYK become RGB, inverted where Adobe's marker says so") {
  const JpegOptions options{.format = TJPF_CMYK, .subsampling = TJSAMP_444, .quality = 100};
  // Stored values of 200, 100, 50 of colour and 204 of black.
  Bytes ycck = compress(colour(16, 16, {200, 100, 50, 204}), 16, 16, options);
  check_near(decode(ycck), {160, 80, 40}, 2);

  // With transform 0 the stored Y, Cb, Cr are taken for C, M, Y: 255 - 55, 128 and 128 of a grey.
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
  const int ink_free = 255 - 204;
  check_near(decode(cmyk), {55 * 51 / 255, static_cast<std::uint8_t>(127 * ink_free / 255), 127 * 51 / 255}, 2);
}

TEST_CASE("each EXIF orientation, in both byte orders, stands upright") {
  const Image image = facet::waves(48, 32);
  const Bytes jpeg = compress(image, {.subsampling = TJSAMP_444});
  const Image stored = decode(jpeg);
  const auto at = [](const Image& from, int x, int y) {
    const auto i = static_cast<std::size_t>(3 * (y * from.width + x));
    return Bytes(from.pixels.begin() + static_cast<std::ptrdiff_t>(i),
                 from.pixels.begin() + static_cast<std::ptrdiff_t>(i) + 3);
  };
  // Where the 0th row and the 0th column of the stored image are in the upright one (EXIF 2.32, tag 0x0112).
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

TEST_CASE("an EXIF block that tells nonsense is no orientation") {
  const Bytes jpeg = compress(facet::waves(16, 8));
  for (const int orientation : {0, 9, 255}) CHECK(decode(facet::with_orientation(jpeg, orientation)).width == 16);
  Bytes far = facet::with_orientation(jpeg, 6);
  far[2 + 4 + 6 + 7] = 0xFF;  // the directory's offset, beyond the block
  CHECK(decode(far).width == 16);
}

TEST_CASE("much larger photographs are decoded at 1/2, 1/4 or 1/8, never below the size") {
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
  const Image tiny = decode(compress(facet::waves(3, 2)), 1);
  CHECK(tiny.width == 2);
  CHECK(tiny.height == 1);
}

TEST_CASE("truncated anywhere, a JPEG is an error that says so") {
  for (const int flags : {0, int{TJFLAG_PROGRESSIVE}}) {
    const Bytes jpeg = compress(facet::noise(64, 64), {.flags = flags});
    const std::size_t scan = scan_data(jpeg);
    for (const std::size_t length :
         {std::size_t{3}, std::size_t{10}, scan / 2, scan - 1, scan, scan + 1, scan + 50, (scan + jpeg.size()) / 2,
          jpeg.size() - 100, jpeg.size() - 3, jpeg.size() - 2, jpeg.size() - 1}) {
      CAPTURE(flags);
      CAPTURE(length);
      const std::string message = reason(first(jpeg, length));
      CHECK(contains(message, "truncated JPEG"));
      CHECK(!contains(message, "\n"));
      CHECK(contains(reason(first(jpeg, length), 8), "truncated JPEG"));
    }
    CHECK(reason(jpeg).empty());
  }
}

TEST_CASE("empty files, other formats and damaged data are told apart") {
  CHECK(reason({}) == "is empty");
  CHECK(reason({0xFF}) == "not a JPEG");
  CHECK(reason({0x89, 'P', 'N', 'G', 13, 10, 26, 10}) == "not a JPEG");
  CHECK(contains(reason({0xFF, 0xD8, 0xFF, 0xD9}), "it holds no image"));
  CHECK(contains(reason({0xFF, 0xD8, 0xFF, 0xE0, 0, 1, 0, 0}), "corrupt JPEG"));

  const Bytes jpeg = compress(facet::noise(64, 64));
  Bytes holed = jpeg;
  const std::size_t middle = (scan_data(jpeg) + jpeg.size()) / 2;
  holed[middle] = 0xFF;
  holed[middle + 1] = 0xD9;
  CHECK(contains(reason(holed), "corrupt JPEG"));

  Bytes without_tables = jpeg;
  without_tables[facet::find(jpeg, {0xFF, 0xDB}) + 1] = 0xEF;
  CHECK(!reason(without_tables).empty());

  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    Bytes garbled = jpeg;
    const Bytes random = facet::noise(4, 1, seed).pixels;
    for (std::size_t i = 0; i + 1 < random.size(); i += 2) {
      garbled[(random[i] * 256U + random[i + 1]) % garbled.size()] = random[i + 1];
    }
    reason(garbled);  // must throw Error, or nothing, but never crash
  }
}

TEST_CASE("a frame too large to be a photograph is refused before it is allocated") {
  Bytes jpeg = compress(facet::waves(16, 16));
  const std::size_t frame = facet::find(jpeg, {0xFF, 0xC0});
  for (std::size_t i = 5; i < 9; ++i) jpeg[frame + i] = 0xFE;
  CHECK(contains(reason(jpeg), "65278x65278 pixels take 12783651852 bytes of memory to decode; at most 2147483648"));
  CHECK(!contains(reason(jpeg, 100), "bytes of memory"));  // at 1/8, a line at a time
}

TEST_CASE("coefficients count where they are all held: in progressive JPEGs, and in those of a scan a component") {
  Bytes progressive = compress(facet::waves(16, 16), {.flags = TJFLAG_PROGRESSIVE});
  const std::size_t frame = facet::find(progressive, {0xFF, 0xC2});
  for (std::size_t i = 5; i < 9; ++i) progressive[frame + i] = 0x60;
  // 3 components of 24672x24672 at 2 bytes, and the pixels at 1/8.
  CHECK(contains(reason(progressive, 100), "24672x24672 pixels take 3680778672 bytes of memory"));

  Bytes one_each = compress(facet::waves(16, 16));
  const std::size_t sequential = facet::find(one_each, {0xFF, 0xC0});
  for (std::size_t i = 5; i < 9; ++i) one_each[sequential + i] = 0x60;
  one_each[facet::find(one_each, {0xFF, 0xDA}) + 4] = 1;
  CHECK(contains(reason(one_each, 100), "24672x24672 pixels take 3680778672 bytes of memory"));
}

TEST_CASE("frames that are not of blocks of 8-bit samples are refused by their kind, at any size") {
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
      CHECK(refusal(0xC3) == "a lossless JPEG (marker 0xC3)" + others);
      CHECK(refusal(0xC5) == "a hierarchical JPEG (marker 0xC5)" + others);
      CHECK(refusal(0xC6) == "a hierarchical JPEG (marker 0xC6)" + others);
      CHECK(refusal(0xC7) == "a lossless, hierarchical JPEG (marker 0xC7)" + others);
      CHECK(refusal(0xCB) == "a lossless JPEG (marker 0xCB)" + others);
      CHECK(refusal(0xCD) == "a hierarchical JPEG (marker 0xCD)" + others);
      CHECK(refusal(0xCE) == "a hierarchical JPEG (marker 0xCE)" + others);
      CHECK(refusal(0xCF) == "a lossless, hierarchical JPEG (marker 0xCF)" + others);
      CHECK(refusal(0xDE) == "a hierarchical JPEG (marker 0xDE)" + others);
      CHECK(refusal(0xF7) == "a JPEG-LS (marker 0xF7)" + others);
      // Coded otherwise than they say: an error, or pixels of no meaning, within their buffer.
      for (const std::uint8_t marker : {0xC1, 0xC2, 0xC9, 0xCA}) refusal(marker);
    }
    for (const std::uint8_t bits : {0, 2, 7, 9, 12, 16, 255}) {
      for (const auto& [jpeg, marker] : {std::pair(baseline, 0xC0), std::pair(progressive, 0xC2)}) {
        Bytes odd = jpeg;
        odd[facet::find(odd, {0xFF, static_cast<std::uint8_t>(marker)}) + 4] = bits;
        CHECK(reason(odd, size) == "a JPEG of " + std::to_string(bits) + " bits a sample; 8 are allowed");
      }
    }
  }
  CHECK(decode(with_marker(baseline, 0xC0, 0xC1)).pixels == decode(baseline).pixels);
}

TEST_CASE("a sampling that has no name decodes all the same") {
  Bytes jpeg = compress(facet::waves(8, 8));
  const std::size_t frame = facet::find(jpeg, {0xFF, 0xC0});
  REQUIRE(jpeg[frame + 11] == 0x22);
  jpeg[frame + 11] = 0x14;  // 1x4: as many blocks, and one unit is the whole image either way
  CHECK(decode(jpeg).pixels.size() == 8 * 8 * 3);
  CHECK(decode(jpeg, 2).pixels.size() == 2 * 2 * 3);
}

TEST_CASE("the pixels of CMYK and of what must be turned count twice") {
  const auto large = [](Bytes jpeg) {
    const std::size_t frame = facet::find(jpeg, {0xFF, 0xC0});
    for (std::size_t i = 5; i < 9; ++i) jpeg[frame + i] = 0x60;
    return reason(jpeg);
  };
  const Bytes upright = compress(facet::waves(16, 16));
  CHECK(!contains(large(upright), "bytes of memory"));
  CHECK(contains(large(facet::with_orientation(upright, 3)), "24672x24672 pixels take 3652245504 bytes"));
  const Bytes cmyk = compress(Bytes(16 * 16 * 4), 16, 16, {.format = TJPF_CMYK, .subsampling = TJSAMP_444});
  CHECK(contains(large(cmyk), "24672x24672 pixels take 4260953088 bytes"));
}

TEST_CASE("a sequential scan whose spectral parameters are zero is no damage") {
  const Bytes jpeg = compress(facet::waves(16, 16));
  Bytes odd = jpeg;
  const std::size_t scan = scan_data(jpeg);
  odd[scan - 2] = 0;
  REQUIRE(odd != jpeg);
  CHECK(decode(odd).pixels == decode(jpeg).pixels);
}

TEST_CASE("what is no regular file, or no photograph, is told apart without reading it") {
  const facet::TemporaryFolder folder;
  const auto error = [&](const char* name) { return error_of([&] { facet::read_jpeg(folder / name); }); };
  REQUIRE(::mkfifo((folder / "fifo.jpg").c_str(), 0600) == 0);
  CHECK(error("fifo.jpg") == (folder / "fifo.jpg").string() + ": is not a regular file");
  CHECK(error_of([] { facet::read_jpeg("/dev/zero"); }) == "/dev/zero: is not a regular file");

  constexpr std::uintmax_t most = std::uintmax_t{1} << 30;
  facet::save(folder / "hole.jpg", {});
  std::filesystem::resize_file(folder / "hole.jpg", most);
  const auto begin = std::chrono::steady_clock::now();
  CHECK(contains(error("hole.jpg"), ": not a JPEG"));
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(100));
  facet::save(folder / "large.jpg", {0xFF, 0xD8, 0xFF});
  std::filesystem::resize_file(folder / "large.jpg", 200 * most);
  CHECK(contains(error("large.jpg"), "is 214748364800 bytes long; at most 1073741824 are read"));
}

TEST_CASE("read_jpeg names the file") {
  const facet::TemporaryFolder folder;
  facet::save(folder / "a.jpg", compress(facet::waves(20, 10)));
  facet::save(folder / "b.jpg", {});
  CHECK(facet::read_jpeg(folder / "a.jpg").width == 20);
  CHECK(facet::read_jpeg(folder / "a.jpg", 5).width == 10);
  CHECK(error_of([&] { facet::read_jpeg(folder / "b.jpg"); }) == (folder / "b.jpg").string() + ": is empty");
  CHECK(error_of([&] { facet::read_jpeg(folder / "c.jpg"); }) == (folder / "c.jpg").string() + ": no such file");
  CHECK(contains(error_of([&] { facet::read_jpeg(folder.path()); }), "is a folder"));
}
