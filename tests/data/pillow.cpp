// Compares which images are read, refused or read with a warning, and their pixels, with Pillow if it is installed.
#include <doctest/doctest.h>

#include <cstdlib>
#include <sstream>

#include "data/make_jpeg.h"
#include "facet/image.h"
#include "testing.h"

using facet::Bytes;
using facet::Image;

namespace {

struct Verdict {
  std::string name, verdict;
  int tolerance = 0, width = 0, height = 0;
};

std::vector<Verdict> read_verdicts(const std::filesystem::path& file) {
  std::vector<Verdict> all;
  std::istringstream lines(facet::read_file(file));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    Verdict each;
    char comma = 0;
    std::getline(fields, each.name, ',');
    std::getline(fields, each.verdict, ',');
    fields >> each.tolerance >> comma >> each.width >> comma >> each.height;
    all.push_back(each);
  }
  return all;
}

int greatest_difference(const Bytes& ours, const std::string& theirs) {
  int greatest = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    greatest = std::max(greatest, std::abs(int{ours[i]} - int{static_cast<std::uint8_t>(theirs[i])}));
  }
  return greatest;
}

}  // namespace

TEST_CASE("intact and damaged JPEG, PNG and WebP files are read or refused as by Pillow") {
  if (std::system(
          "/usr/bin/python3 -c 'from PIL import features; exit(not features.check(\"webp\"))' >/dev/null 2>&1") != 0) {
    MESSAGE("SKIPPED: Pillow (python3-pil) isn't installed");
    return;
  }
  const facet::TemporaryFolder folder;
  REQUIRE(std::system(
              ("/usr/bin/python3 -B '" FACET_TEST_SCRIPTS "/make_pillow_images.py' '" + folder.path().string() + "'")
                  .c_str()) == 0);
  const std::vector<Verdict> verdicts = read_verdicts(folder / "verdicts.csv");
  REQUIRE(verdicts.size() > 100);
  for (const auto& [name, verdict, tolerance, width, height] : verdicts) {
    CAPTURE(name);
    std::string warning, ours = "reads";
    Image image;
    const std::string error = facet::error_of([&] { image = facet::read_image(folder / name, 0, &warning); });
    if (!error.empty()) ours = "refuses";
    if (!warning.empty()) ours = "warns";
    CAPTURE(error);
    CAPTURE(warning);
    CHECK(ours == verdict);
    if (!error.empty() || verdict == "refuses") continue;
    CHECK(image.width == width);
    CHECK(image.height == height);
    const std::string theirs = facet::read_file(folder / (name + ".rgb"));
    REQUIRE(theirs.size() == image.pixels.size());
    CHECK(greatest_difference(image.pixels, theirs) <= tolerance);
  }
}
