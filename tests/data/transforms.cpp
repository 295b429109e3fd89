#include "data/transforms/transforms.h"

#include <doctest/doctest.h>

#include <set>

#include "data/make_jpeg.h"
#include "data/transforms/mirror.h"

using facet::LoadRequest;
using facet::data::draws_of;
using facet::data::Transform;
using facet::data::Transforms;

TEST_CASE("a transform draws from seed, epoch, image and its own number, and from nothing else") {
  const LoadRequest request{.index = 5, .size = 8, .seed = 3, .epoch = 2};
  const auto first = [](const LoadRequest& of, Transform transform) { return draws_of(of, transform).bits(); };
  LoadRequest larger = request;
  larger.size = {9, 7};
  larger.resize = facet::ResizeMode::crop;
  CHECK(first(larger, Transform::flip) == first(request, Transform::flip));
  std::set<std::uint32_t> drawn;
  for (const std::uint64_t seed : {3, 4}) {
    for (const std::int64_t epoch : {2, 3}) {
      for (const std::int64_t index : {5, 6}) {
        for (const auto transform : {Transform::flip, static_cast<Transform>(1)}) {
          drawn.insert(first({.index = index, .seed = seed, .epoch = epoch}, transform));
        }
      }
    }
  }
  CHECK(drawn.size() == 16);
}

TEST_CASE("the flip's draws are those of (seed, epoch, image), as runs of before have them") {
  for (std::int64_t index = 0; index < 20; ++index) {
    facet::base::RandomStream before(9, facet::base::Purpose::augmentation, 4, static_cast<std::uint64_t>(index));
    CHECK(draws_of({.index = index, .seed = 9, .epoch = 4}, Transform::flip).bits() == before.bits());
  }
}

TEST_CASE("a request holds what loading needs; an image is mirrored or left as it is") {
  const Transforms transforms{.size = {6, 5}, .resize = facet::ResizeMode::crop, .flip = true, .seed = 8};
  const facet::Bytes image = facet::noise(5, 6).pixels;
  facet::Bytes mirrored = image;
  facet::data::mirror(mirrored, 5);
  int flips = 0;
  facet::data::Scratch scratch;
  for (std::int64_t index = 0; index < 200; ++index) {
    const LoadRequest request = transforms.request(index, 3);
    CHECK(request.index == index);
    CHECK(request.size == facet::ImageSize(6, 5));
    CHECK(request.resize == facet::ResizeMode::crop);
    CHECK(request.seed == 8);
    CHECK(request.epoch == 3);
    facet::Bytes pixels = image;
    transforms.apply(request, pixels, scratch);
    const bool flipped = draws_of(request, Transform::flip).uniform() < 0.5F;
    CHECK(pixels == (flipped ? mirrored : image));
    flips += flipped ? 1 : 0;
    pixels = image;
    Transforms{.size = {6, 5}}.apply(request, pixels, scratch);
    CHECK(pixels == image);
  }
  CHECK(flips > 60);
  CHECK(flips < 140);
}
