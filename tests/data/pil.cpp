// Holds decoding and resizing against Pillow, where it is installed.
#include <doctest/doctest.h>

#include <cstdlib>

#include "data/make_jpeg.h"
#include "facet/data.h"
#include "temporary_folder.h"

using facet::Bytes;
using facet::Image;

namespace {

bool has_pillow() { return std::system("/usr/bin/python3 -c 'import PIL' >/dev/null 2>&1") == 0; }

/// Runs a script that may use `Image` and `folder`.
void run_pillow(const facet::TemporaryFolder& folder, const std::string& script) {
  facet::write_file(folder / "script.py",
                    "from PIL import Image\nfolder = '" + folder.path().string() + "/'\n" + script);
  REQUIRE(std::system(("/usr/bin/python3 '" + (folder / "script.py").string() + "'").c_str()) == 0);
}

Bytes read_bytes(const std::filesystem::path& file) {
  const std::string text = facet::read_file(file);
  return {text.begin(), text.end()};
}

struct Case {
  int width;
  int height;
  int size;
};

}  // namespace

TEST_CASE("resize is Pillow's bilinear filter, to the bit") {
  if (!has_pillow()) {
    MESSAGE("SKIPPED: Pillow (python3-pil) isn't installed");
    return;
  }
  const facet::TemporaryFolder folder;
  const std::vector<Case> cases{{200, 200, 224}, {640, 480, 224}, {224, 300, 224}, {300, 224, 224}, {1, 1, 5},
                                {7, 3, 64},      {3, 900, 33},    {1023, 517, 64}, {225, 223, 224}, {50, 50, 1}};
  std::string script;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto& [width, height, size] = cases[i];
    const std::string stem = std::to_string(i);
    facet::save(folder / (stem + ".rgb"), facet::noise(width, height).pixels);
    script += "image = Image.frombytes('RGB', (" + std::to_string(width) + ", " + std::to_string(height) +
              "), open(folder + '" + stem + ".rgb', 'rb').read())\n" + "open(folder + '" + stem +
              ".out', 'wb').write(image.resize((" + std::to_string(size) + ", " + std::to_string(size) +
              "), Image.BILINEAR).tobytes())\n";
  }
  run_pillow(folder, script);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto& [width, height, size] = cases[i];
    CAPTURE(width);
    CAPTURE(height);
    CAPTURE(size);
    Bytes ours(static_cast<std::size_t>(size * size * 3));
    facet::resize(facet::noise(width, height), size, ours);
    // Newer versions (12, say) take the columns first where that is less work: each pass rounds to bytes.
    const bool either_first = width < size && height > size;
    CHECK(facet::mean_difference(ours, read_bytes(folder / (std::to_string(i) + ".out"))) <= (either_first ? 0.2 : 0));
  }
}

TEST_CASE("loading a JPEG is Pillow's draft, orientation, conversion to RGB and resizing") {
  if (!has_pillow()) {
    MESSAGE("SKIPPED: Pillow (python3-pil) isn't installed");
    return;
  }
  const facet::TemporaryFolder folder;
  std::vector<Bytes> jpegs{
      facet::compress(facet::waves(200, 200)),
      facet::compress(facet::noise(300, 260)),
      facet::compress(facet::waves(803, 601)),
      facet::compress(facet::noise(803, 601), {.flags = TJFLAG_PROGRESSIVE}),
      facet::with_orientation(facet::compress(facet::waves(640, 480), {.subsampling = TJSAMP_444}), 6),
      facet::compress(facet::waves(1000, 900).pixels, 750, 900, {.format = TJPF_CMYK, .subsampling = TJSAMP_444})};
  Bytes cmyk = jpegs.back();
  cmyk[facet::find(cmyk, {0xFF, 0xEE}) + 15] = 0;
  jpegs.push_back(cmyk);
  for (int orientation = 1; orientation <= 8; ++orientation) {
    jpegs.push_back(facet::with_orientation(facet::compress(facet::waves(90, 70)), orientation));
  }
  for (std::size_t i = 0; i < jpegs.size(); ++i) facet::save(folder / (std::to_string(i) + ".jpg"), jpegs[i]);
  run_pillow(folder,
             "from PIL import ImageOps\n"
             "for i in range(" +
                 std::to_string(jpegs.size()) +
                 "):\n"
                 "    image = Image.open(f'{folder}{i}.jpg')\n"
                 "    image.draft(None, (224, 224))\n"
                 "    image = ImageOps.exif_transpose(image).convert('RGB').resize((224, 224), Image.BILINEAR)\n"
                 "    open(f'{folder}{i}.out', 'wb').write(image.tobytes())\n");
  for (std::size_t i = 0; i < jpegs.size(); ++i) {
    CAPTURE(i);
    Bytes ours(224 * 224 * 3);
    facet::resize(facet::read_image(folder / (std::to_string(i) + ".jpg"), 224), 224, ours);
    // Pillow may be linked with another libjpeg than ours.
    CHECK(facet::mean_difference(ours, read_bytes(folder / (std::to_string(i) + ".out"))) < 0.5);
  }
}
