#include "data/decode/region.h"

#include <fmt/format.h>

#include "facet/error.h"

namespace facet::data {
namespace {

Region mirrored(Region region, ImageSize image, int orientation) {
  if (begins_right(orientation)) region.left = image.width - region.left - region.width;
  if (begins_below(orientation)) region.top = image.height - region.top - region.height;
  return region;
}

Region transposed(const Region& region) { return {region.top, region.left, region.height, region.width}; }

}  // namespace

void require_within(const Region& region, ImageSize image) {
  if (region.left < 0 || region.top < 0 || region.width < 1 || region.height < 1 ||
      region.width > image.width - region.left || region.height > image.height - region.top) {
    throw Error(fmt::format("a region of {}x{} pixels at ({}, {}) is requested of an image of {}x{}", region.width,
                            region.height, region.left, region.top, image.width, image.height));
  }
}

Region reduced(const Region& region, int by) {
  const auto up = [by](int position) { return position / by + (position % by > 0 ? 1 : 0); };
  const int left = region.left / by, top = region.top / by;
  return {left, top, up(region.left + region.width) - left, up(region.top + region.height) - top};
}

bool swaps_axes(int orientation) { return orientation >= 5 && orientation <= 8; }

bool begins_right(int orientation) {
  return orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
}

bool begins_below(int orientation) {
  return orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
}

ImageSize turned(ImageSize stored, int orientation) {
  return swaps_axes(orientation) ? ImageSize(stored.width, stored.height) : stored;
}

Region turned(const Region& region, ImageSize stored, int orientation) {
  const Region turned = mirrored(region, stored, orientation);
  return swaps_axes(orientation) ? transposed(turned) : turned;
}

Region turned_back(const Region& region, ImageSize stored, int orientation) {
  return mirrored(swaps_axes(orientation) ? transposed(region) : region, stored, orientation);
}

}  // namespace facet::data
