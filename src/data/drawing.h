#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace facet::data {

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

/// @param hue in turns, of any size: 0 is red, 1/3 green, 2/3 blue.
/// @param saturation, value in [0, 1].
Colour hsv(float hue, float saturation, float value);

Colour mix(Colour a, Colour b, float share_of_b);

enum class Figure : std::uint8_t { disc, ring, square, triangle, cross, star, hourglass };

/// Distance from `point` to the edge of a figure that is centred on the origin and fits the unit circle; negative
/// inside. Polygons after Quilez, "2D distance functions" (iquilezles.org/articles/distfunctions2d).
float signed_distance(Figure figure, Point point);

/// Where a figure lies: its centre and the radius of its circle in pixels, turned by `angle` radians.
struct Placement {
  Point centre;
  float radius = 1;
  float angle = 0;
};

/// A square picture in linear steps of its colours, painted with antialiased edges. Pixel (x, y) is the unit square
/// around (x, y).
class Canvas {
 public:
  /// A colour for a pixel.
  using Paint = std::function<Colour(Point)>;

  Canvas(int size, const Paint& paint);

  int size() const { return size_; }
  /// Row by row.
  std::vector<Colour>& pixels() { return pixels_; }

  void fill(Figure figure, const Placement& placement, const Paint& paint);
  /// A straight stroke with round ends.
  void stroke(Point from, Point to, float width, Colour colour);

  /// {size, size, 3}, rounded and clamped to 0..255.
  std::vector<std::uint8_t> bytes() const;

 private:
  /// Paints where `distance`, in pixels, is negative.
  void paint_inside(const std::function<float(Point)>& distance, const Paint& paint);

  int size_;
  std::vector<Colour> pixels_;
};

}  // namespace facet::data
