#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/random.h"

namespace facet::synthetic {

struct Point {
  float x = 0;
  float y = 0;
};

/// Red, green and blue, each in [0, 1].
struct Colour {
  float red = 0;
  float green = 0;
  float blue = 0;
};

/// @param hue in turns, any number: 0 is red, 1/3 green, 2/3 blue.
/// @param saturation, value in [0, 1].
Colour hsv(float hue, float saturation, float value);

Colour mix(Colour a, Colour b, float share_of_b);

enum class Figure : std::uint8_t { disc, ring, square, triangle, cross, star, hourglass };

/// Returns the distance from `point` to the edge of a figure that is centred on the origin and fits the unit circle;
/// negative inside. Polygons after Quilez, "2D distance functions" (iquilezles.org/articles/distfunctions2d).
float signed_distance(Figure figure, Point point);

/// Where a figure lies: its centre and the radius of its circle in pixels, turned by `angle` radians.
struct Placement {
  Point centre;
  float radius = 1;
  float angle = 0;
};

/// A square picture with floating-point colours, which are mixed linearly, and antialiased edges. Pixel (x, y) is the
/// unit square centred on (x, y).
class Canvas {
 public:
  /// Returns the colour of a pixel.
  using Paint = std::function<Colour(Point)>;

  Canvas(int size, const Paint& paint);

  int size() const { return size_; }
  /// The pixels in row-major order.
  std::vector<Colour>& pixels() { return pixels_; }

  void fill(Figure figure, const Placement& placement, const Paint& paint);
  /// Draws a straight stroke with round ends.
  void stroke(Point from, Point to, float width, Colour colour);

  /// Returns the picture as 8-bit RGB of {size, size, 3}, rounded and clamped to 0..255.
  std::vector<std::uint8_t> bytes() const;

 private:
  /// Paints where `distance`, in pixels, is negative.
  void paint_inside(const std::function<float(Point)>& distance, const Paint& paint);

  int size_;
  std::vector<Colour> pixels_;
};

/// Class indices of the three heads, in FairFace's order.
struct SyntheticLabels {
  int age = 0;     ///< 0..8
  int gender = 0;  ///< 0..1
  int race = 0;    ///< 0..6
};

/// Draws an abstract picture of {size, size, 3} that encodes the labels: a striped figure on a smooth ground, with
/// small discs around it.
///
/// Race is the figure's shape. Gender is the direction of its stripes, horizontal or vertical. Age is the pair of the
/// stripes' hue (age % 3) and the number of discs (1, 3 or 5 for an age / 3 of 0, 1 or 2). Mirroring the picture keeps
/// all of these. Ground, exposure, position, size, angle, other colours, strokes across the picture and noise carry no
/// information. Whether the drawing is lighter or darker than the ground is random, so that no single pixel reveals the
/// shape, the stripes or the number of discs.
std::vector<std::uint8_t> draw_synthetic(const SyntheticLabels& labels, int size, base::RandomStream random);

}  // namespace facet::synthetic
