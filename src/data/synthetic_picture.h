#pragma once

#include <cstdint>
#include <vector>

#include "base/random.h"

namespace facet::data {

/// Classes of the three heads, in FairFace's order.
struct SyntheticLabels {
  int age = 0;     ///< 0..8
  int gender = 0;  ///< 0..1
  int race = 0;    ///< 0..6
};

/// Draws an abstract picture in which labels can be read, {size, size, 3}: a striped figure on a plain ground, with
/// small discs around it.
///
/// Race is the figure's shape; gender the direction of its stripes, level or upright; age a pair, the stripes' hue (age
/// % 3) and the number of discs (1, 3 or 5: age / 3). All that is kept when the picture is mirrored. Ground, light,
/// place, size, angle, further colours, strokes across the picture and noise mean nothing: whether what is drawn is
/// lighter or darker than the ground is left to chance, so that no pixel tells shape, stripes or number by itself.
std::vector<std::uint8_t> draw_synthetic(const SyntheticLabels& labels, int size, base::RandomStream random);

}  // namespace facet::data
