// Compares decoding and resizing with Pillow if it is installed.
#include <doctest/doctest.h>

#include <cstdlib>

#include "data/make_jpeg.h"
#include "facet/image.h"
#include "testing.h"

using facet::Bytes;
using facet::Image;
using facet::ImageSize;
using facet::ResizeMode;

namespace {

bool has_pillow() { return std::system("/usr/bin/python3 -c 'import PIL' >/dev/null 2>&1") == 0; }

/// Python's resized(image, height, width, mode). A square crop uses torchvision's transforms if it is installed,
/// otherwise their definition.
constexpr const char* resized_in_python = R"(
try:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize
except ImportError:
    Compose = None

def resized(image, height, width, mode):
    if mode == 'squash':
        return image.resize((width, height), Image.BILINEAR)
    down, across = int(height / 0.875), int(width / 0.875)
    if Compose and height == width:
        return Compose([Resize(down, InterpolationMode.BILINEAR), CenterCrop(height)])(image)
    if image.height * across >= image.width * down:
        down = across * image.height // image.width
    else:
        across = down * image.width // image.height
    image = image.resize((across, down), Image.BILINEAR)
    left, top = int(round((image.width - width) / 2)), int(round((image.height - height) / 2))
    return image.crop((left, top, left + width, top + height))
)";

/// Runs a script that may use `Image`, `folder` and `resized`.
void run_pillow(const facet::TemporaryFolder& folder, const std::string& script) {
  facet::write_file(folder / "script.py",
                    "from PIL import Image\nfolder = '" + folder.path().string() + "/'\n" + resized_in_python + script);
  REQUIRE(std::system(("/usr/bin/python3 '" + (folder / "script.py").string() + "'").c_str()) == 0);
}

Bytes read_bytes(const std::filesystem::path& file) {
  const std::string text = facet::read_file(file);
  return {text.begin(), text.end()};
}

struct Case {
  int width;
  int height;
  ImageSize size;
};

}  // namespace

TEST_CASE("resize gives the same bytes as Pillow's bilinear filter, squashed, or cropped as by torchvision") {
  if (!has_pillow()) {
    MESSAGE("SKIPPED: Pillow (python3-pil) isn't installed");
    return;
  }
  const facet::TemporaryFolder folder;
  const std::vector<Case> cases{{200, 200, 224},
                                {640, 480, 224},
                                {224, 300, 224},
                                {300, 224, 224},
                                {1, 1, 5},
                                {7, 3, 64},
                                {3, 900, 33},
                                {1023, 517, 64},
                                {225, 223, 224},
                                {50, 50, 1},
                                {223, 301, 96},
                                {37, 31, 50},
                                {256, 341, 224},
                                {640, 480, {96, 224}},
                                {640, 480, {224, 96}},
                                {480, 640, {96, 224}},
                                {37, 31, {50, 20}},
                                {300, 200, {33, 64}},
                                {3, 900, {64, 7}}};
  std::string script;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto& [width, height, size] = cases[i];
    const std::string stem = std::to_string(i);
    facet::save(folder / (stem + ".rgb"), facet::noise(width, height).pixels);
    script += "image = Image.frombytes('RGB', (" + std::to_string(width) + ", " + std::to_string(height) +
              "), open(folder + '" + stem + ".rgb', 'rb').read())\n" +
              "for mode in 'squash', 'crop':\n    open(folder + '" + stem + ".' + mode, 'wb').write(resized(image, " +
              std::to_string(size.height) + ", " + std::to_string(size.width) + ", mode).tobytes())\n";
  }
  run_pillow(folder, script);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const auto& [width, height, size] = cases[i];
    CAPTURE(width);
    CAPTURE(height);
    const std::string size_text = to_string(size);
    CAPTURE(size_text);
    for (const ResizeMode mode : {ResizeMode::squash, ResizeMode::crop}) {
      const std::string name(to_string(mode));
      CAPTURE(name);
      Bytes ours(static_cast<std::size_t>(size.height * size.width * 3));
      facet::resize(facet::noise(width, height), size, mode, ours);
      // Newer versions of Pillow (such as 12) resize the columns first if that is less work, and each pass rounds to
      // bytes.
      const bool either_first = mode == ResizeMode::squash && width < size.width && height > size.height;
      CHECK(facet::mean_difference(ours, read_bytes(folder / (std::to_string(i) + "." + name))) <=
            (either_first ? 0.2 : 0));
    }
  }
}

TEST_CASE("loading a JPEG gives the pixels of Pillow's draft, exif_transpose, convert and resize") {
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
                 "    for height, width in (224, 224), (300, 100), (50, 150):\n"
                 "        for mode in 'squash', 'crop':\n"
                 "            image = Image.open(f'{folder}{i}.jpg')\n"
                 "            needed = [int(side / (0.875 if mode == 'crop' else 1)) for side in (width, height)]\n"
                 "            if image.getexif().get(0x0112, 1) >= 5:\n"
                 "                needed.reverse()\n"
                 "            image.draft(None, tuple(needed))\n"
                 "            image = resized(ImageOps.exif_transpose(image).convert('RGB'), height, width, mode)\n"
                 "            open(f'{folder}{i}.{height}x{width}.{mode}', 'wb').write(image.tobytes())\n");
  for (std::size_t i = 0; i < jpegs.size(); ++i) {
    for (const ImageSize size : {ImageSize(224), ImageSize(300, 100), ImageSize(50, 150)}) {
      for (const ResizeMode mode : {ResizeMode::squash, ResizeMode::crop}) {
        const std::string stem = std::to_string(i),
                          name = stem + "." + to_string(size) + "." + std::string(to_string(mode));
        CAPTURE(name);
        Bytes ours(static_cast<std::size_t>(size.height * size.width * 3));
        facet::resize(facet::read_image(folder / (stem + ".jpg"), facet::covered_size(size, mode)), size, mode, ours);
        // Pillow may be linked with another version of libjpeg.
        CHECK(facet::mean_difference(ours, read_bytes(folder / name)) < 0.5);
      }
    }
  }
}
