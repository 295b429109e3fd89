// Compares the transforms with torchvision's functions, with the same parameters, where torchvision is installed.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "data/decode/resize.h"
#include "data/make_jpeg.h"
#include "data/transforms/affine.h"
#include "data/transforms/blur.h"
#include "data/transforms/color.h"
#include "data/transforms/policy.h"
#include "testing.h"

using facet::Bytes;
using facet::Image;
using facet::ImageSize;
using facet::Interpolation;
using namespace facet::data;

namespace {

struct Case {
  std::string python;  // of `image`, a tensor; F, apply and size are defined
  std::function<void(Image&, Scratch&)> facet;
};

Case colors(const std::string& python, std::vector<ColorStep> steps) {
  return {python, [=](Image& image, Scratch&) { change_colors(image.pixels, steps); }};
}

Case affine(const std::string& python, const AffineMap& map, Interpolation interpolation, const Color& fill) {
  return {python, [=](Image& image, Scratch& scratch) {
            const ImageSize size(image.height, image.width);
            transform_affine(image.pixels, size, inverse_of(map, size), interpolation, fill, scratch);
          }};
}

Case policy(const std::string& name, Operation operation, double magnitude) {
  return {"apply(image, '" + name + "', " + std::to_string(magnitude) + ", BILINEAR, None)",
          [=](Image& image, Scratch& scratch) {
            apply({operation, magnitude}, image.pixels, {image.height, image.width}, {}, scratch);
          }};
}

Case blur(double sigma, ImageSize size) {
  return {
      "F.gaussian_blur(image, " + std::to_string(2 * blur_radius(sigma, size) + 1) + ", " + std::to_string(sigma) + ")",
      [=](Image& image, Scratch& scratch) { gaussian_blur(image.pixels, size, sigma, scratch); }};
}

std::vector<Case> cases(ImageSize size) {
  constexpr auto nearest = Interpolation::nearest, bilinear = Interpolation::bilinear;
  using enum ColorChange;
  std::vector<Case> all{
      colors("F.adjust_brightness(image, 1.4)", {{brightness, 1.4F}}),
      colors("F.adjust_contrast(image, 0.3)", {{contrast, 0.3F}}),
      colors("F.adjust_contrast(image, 1.7)", {{contrast, 1.7F}}),
      colors("F.adjust_saturation(image, 2.1)", {{saturation, 2.1F}}),
      colors("F.adjust_hue(image, 0.31)", {{hue, 0.31F}}),
      colors("F.adjust_hue(image, -0.5)", {{hue, -0.5F}}),
      colors("F.adjust_hue(F.adjust_contrast(F.adjust_saturation(F.adjust_brightness(image, 0.8), 1.2), 1.3), 0.05)",
             {{brightness, 0.8F}, {saturation, 1.2F}, {contrast, 1.3F}, {hue, 0.05F}}),
      colors("F.adjust_brightness(F.adjust_saturation(F.adjust_hue(F.adjust_contrast(image, 0.7), -0.1), 0.6), 1.1)",
             {{contrast, 0.7F}, {hue, -0.1F}, {saturation, 0.6F}, {brightness, 1.1F}}),
      {"F.rgb_to_grayscale(image, 3)", [](Image& image, Scratch&) { to_grayscale(image.pixels); }},
      blur(0.1, size),
      blur(0.8, size),
      blur(2, size),
      // (With a fill, torchvision counts the share of pixels across the edge twice.)
      affine("F.rotate(image, 30, BILINEAR)", {.degrees = -30}, bilinear, {}),
      affine("F.rotate(image, -117, NEAREST, fill=[10, 200, 30])", {.degrees = 117}, nearest, {10, 200, 30}),
      affine("F.affine(image, 12, [7, -4], 1.2, [9, -5], BILINEAR)",
             {.degrees = 12, .right = 7, .down = -4, .scale = 1.2, .shear_x = 9, .shear_y = -5}, bilinear, {}),
      affine("F.affine(image, -40, [-3, 5], 0.6, [0, 20], NEAREST, fill=[1, 2, 3])",
             {.degrees = -40, .right = -3, .down = 5, .scale = 0.6, .shear_y = 20}, nearest, {1, 2, 3}),
      policy("Identity", Operation::identity, 0),
      policy("ShearX", Operation::shear_x, 0.3),
      policy("ShearX", Operation::shear_x, -0.99),
      policy("ShearY", Operation::shear_y, 0.21),
      policy("TranslateX", Operation::translate_x, -12.6),
      policy("TranslateY", Operation::translate_y, 9.2),
      policy("Rotate", Operation::rotate, 21),
      policy("Brightness", Operation::brightness, -0.9),
      policy("Color", Operation::color, 0.9),
      policy("Contrast", Operation::contrast, 0.45),
      policy("Sharpness", Operation::sharpness, 0.9),
      policy("Sharpness", Operation::sharpness, -0.9),
      policy("AutoContrast", Operation::auto_contrast, 0),
      policy("Equalize", Operation::equalize, 0)};
  for (const int bits : {2, 5, 8}) all.push_back(policy("Posterize", Operation::posterize, bits));
  for (const double threshold : {0.0, 93.5, 255.0}) all.push_back(policy("Solarize", Operation::solarize, threshold));
  return all;
}

/// Returns the share of the values that differ by at most two levels.
double agreement(const Bytes& a, const Bytes& b) {
  REQUIRE(a.size() == b.size());
  std::size_t near = 0;
  for (std::size_t i = 0; i < a.size(); ++i) near += std::abs(a[i] - b[i]) <= 2 ? 1 : 0;
  return static_cast<double>(near) / static_cast<double>(a.size());
}

constexpr const char* preamble = R"(
import torch, torchvision.transforms.functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import _apply_op as apply
NEAREST, BILINEAR = InterpolationMode.NEAREST, InterpolationMode.BILINEAR
torch.set_num_threads(1)

def read(name, height, width):
    pixels = torch.frombuffer(bytearray(open(folder + name, 'rb').read()), dtype=torch.uint8)
    return pixels.reshape(height, width, 3).permute(2, 0, 1).contiguous()

def write(name, image):
    assert image.dtype == torch.uint8
    open(folder + name, 'wb').write(bytes(image.permute(1, 2, 0).contiguous().flatten().tolist()))

)";

Bytes read_bytes(const std::filesystem::path& file) {
  const std::string text = facet::read_file(file);
  return {text.begin(), text.end()};
}

}  // namespace

TEST_CASE("transforms give the pixels of torchvision's functions with the same parameters") {
  if (std::system("/usr/bin/python3 -c 'import torchvision' >/dev/null 2>&1") != 0) {
    MESSAGE("SKIPPED: torchvision (python3-torchvision) isn't installed");
    return;
  }
  // The second image's values don't use all levels, and its rows don't fill whole vectors.
  std::vector<Image> images{facet::waves(96, 80), facet::waves(61, 43, 2), facet::noise(70, 65)};
  for (std::uint8_t& value : images[1].pixels) value = static_cast<std::uint8_t>(30 + value / 2);
  const facet::TemporaryFolder folder;
  std::string script = "folder = '" + folder.path().string() + "/'\n" + preamble;
  for (std::size_t i = 0; i < images.size(); ++i) {
    const Image& image = images[i];
    const std::string stem = std::to_string(i);
    facet::save(folder / (stem + ".rgb"), image.pixels);
    script +=
        "image = read('" + stem + ".rgb', " + std::to_string(image.height) + ", " + std::to_string(image.width) + ")\n";
    const std::vector<Case> of_size = cases({image.height, image.width});
    for (std::size_t c = 0; c < of_size.size(); ++c) {
      script += "write('" + stem + "." + std::to_string(c) + "', " + of_size[c].python + ")\n";
    }
  }
  facet::write_file(folder / "script.py", script);
  REQUIRE(std::system(("/usr/bin/python3 '" + (folder / "script.py").string() + "'").c_str()) == 0);
  Scratch scratch;
  for (std::size_t i = 0; i < images.size(); ++i) {
    const std::vector<Case> of_size = cases({images[i].height, images[i].width});
    for (std::size_t c = 0; c < of_size.size(); ++c) {
      CAPTURE(i);
      CAPTURE(of_size[c].python);
      Image ours = images[i];
      of_size[c].facet(ours, scratch);
      const double share = agreement(ours.pixels, read_bytes(folder / (std::to_string(i) + "." + std::to_string(c))));
      CHECK(share >= 0.99);
    }
  }
}
