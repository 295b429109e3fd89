#pragma once

#include "facet/image.h"

namespace facet::data {

/// A rectangle of an image, in pixels.
struct Region {
  int left = 0, top = 0;
  int width = 0, height = 0;
  bool operator==(const Region&) const = default;
};

/// Where the pixels of an image lie in the whole image, of which they may be a part.
struct Placement {
  ImageSize whole = 0;  ///< the extents of the whole image, at the scale of the pixels
  int left = 0, top = 0;
};

/// @throws Error unless the region lies within the image and has pixels.
void require_within(const Region& region, ImageSize image);
/// Returns the pixels of an image at the scale 1 / `by` that a region of it in full size touches.
Region reduced(const Region& region, int by);

// EXIF orientations, 1 to 8. The image as it is stored is turned to be upright.

/// Whether the height of the upright image is the width of the stored one, and the other way round.
bool swaps_axes(int orientation);
/// Whether the right column of the stored image becomes the left column of the upright one, or its top row.
bool begins_right(int orientation);
/// Whether the bottom row of the stored image becomes the top row of the upright one, or its left column.
bool begins_below(int orientation);

/// Returns the extents of the upright image, given those of the stored one.
ImageSize turned(ImageSize stored, int orientation);
/// Returns where a region of the stored image, whose extents are `stored`, lies in the upright one.
Region turned(const Region& region, ImageSize stored, int orientation);
/// Returns where a region of the upright image lies in the stored one, whose extents are `stored`.
Region turned_back(const Region& region, ImageSize stored, int orientation);

}  // namespace facet::data
