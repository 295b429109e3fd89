#include "data/drawing.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>

namespace facet::data {
namespace {

constexpr float pi = std::numbers::pi_v<float>;

Point on_circle(float radius, float turns) {
  return {radius * std::cos(2 * pi * turns), radius * std::sin(2 * pi * turns)};
}

/// Points on the unit circle, every second one at `inner`, the first one upright.
std::vector<Point> spikes(int count, float inner) {
  std::vector<Point> points;
  for (int i = 0; i < count; ++i) {
    const float turns = static_cast<float>(i) / static_cast<float>(count) - 0.25F;
    points.push_back(on_circle(i % 2 == 0 ? 1.0F : inner, turns));
  }
  return points;
}

std::vector<Point> cross() {
  constexpr float a = 0.32F;
  const float b = std::sqrt(1 - a * a);
  return {{-a, -b}, {a, -b}, {a, -a}, {b, -a}, {b, a}, {a, a}, {a, b}, {-a, b}, {-a, a}, {-b, a}, {-b, -a}, {-a, -a}};
}

std::vector<Point> hourglass() {
  constexpr float waist = 0.12F;
  const float b = std::sqrt(0.5F);
  return {{-b, -b}, {b, -b}, {waist, 0}, {b, b}, {-b, b}, {-waist, 0}};
}

float segment_distance(Point p, Point a, Point b) {
  const Point edge{b.x - a.x, b.y - a.y};
  const Point offset{p.x - a.x, p.y - a.y};
  const float length2 = std::max(edge.x * edge.x + edge.y * edge.y, 1e-12F);
  const float along = std::clamp((offset.x * edge.x + offset.y * edge.y) / length2, 0.0F, 1.0F);
  return std::hypot(offset.x - edge.x * along, offset.y - edge.y * along);
}

float polygon_distance(std::span<const Point> corners, Point p) {
  float distance = std::numeric_limits<float>::max();
  bool inside = false;
  for (std::size_t i = 0, j = corners.size() - 1; i < corners.size(); j = i++) {
    const Point a = corners[j];
    const Point b = corners[i];
    distance = std::min(distance, segment_distance(p, a, b));
    // A ray to the right crosses the edge.
    if ((a.y > p.y) != (b.y > p.y) && p.x < a.x + (b.x - a.x) * (p.y - a.y) / (b.y - a.y)) inside = !inside;
  }
  return inside ? -distance : distance;
}

std::uint8_t to_byte(float value) { return static_cast<std::uint8_t>(std::clamp(value * 255 + 0.5F, 0.0F, 255.0F)); }

}  // namespace

Colour hsv(float hue, float saturation, float value) {
  const auto channel = [&](float shift) {
    const float sector = 6 * (hue + shift - std::floor(hue + shift));
    return value * (1 - saturation * (1 - std::clamp(std::abs(sector - 3) - 1, 0.0F, 1.0F)));
  };
  return {channel(0), channel(2.0F / 3), channel(1.0F / 3)};
}

Colour mix(Colour a, Colour b, float share_of_b) {
  return {std::lerp(a.red, b.red, share_of_b), std::lerp(a.green, b.green, share_of_b),
          std::lerp(a.blue, b.blue, share_of_b)};
}

float signed_distance(Figure figure, Point point) {
  static const std::vector<Point> square_corners = {
      {-0.7071F, -0.7071F}, {0.7071F, -0.7071F}, {0.7071F, 0.7071F}, {-0.7071F, 0.7071F}};
  static const std::vector<Point> triangle_corners = {on_circle(1, -0.25F), on_circle(1, 1 / 12.0F),
                                                      on_circle(1, 5 / 12.0F)};
  static const std::vector<Point> cross_corners = cross();
  static const std::vector<Point> star_corners = spikes(10, 0.42F);
  static const std::vector<Point> hourglass_corners = hourglass();
  const float from_centre = std::hypot(point.x, point.y);
  switch (figure) {
    case Figure::disc:
      return from_centre - 1;
    case Figure::ring:
      return std::abs(from_centre - 0.74F) - 0.26F;
    case Figure::square:
      return polygon_distance(square_corners, point);
    case Figure::triangle:
      return polygon_distance(triangle_corners, point);
    case Figure::cross:
      return polygon_distance(cross_corners, point);
    case Figure::star:
      return polygon_distance(star_corners, point);
    case Figure::hourglass:
      return polygon_distance(hourglass_corners, point);
  }
  return from_centre;
}

Canvas::Canvas(int size, const Paint& paint) : size_(size) {
  pixels_.reserve(static_cast<std::size_t>(size) * static_cast<std::size_t>(size));
  for (int y = 0; y < size; ++y) {
    for (int x = 0; x < size; ++x) pixels_.push_back(paint({static_cast<float>(x), static_cast<float>(y)}));
  }
}

void Canvas::paint_inside(const std::function<float(Point)>& distance, const Paint& paint) {
  std::size_t index = 0;
  for (int y = 0; y < size_; ++y) {
    for (int x = 0; x < size_; ++x, ++index) {
      const Point point{static_cast<float>(x), static_cast<float>(y)};
      const float cover = std::clamp(0.5F - distance(point), 0.0F, 1.0F);
      if (cover > 0) pixels_[index] = mix(pixels_[index], paint(point), cover);
    }
  }
}

void Canvas::fill(Figure figure, const Placement& placement, const Paint& paint) {
  const float cosine = std::cos(placement.angle) / placement.radius;
  const float sine = std::sin(placement.angle) / placement.radius;
  paint_inside(
      [&](Point point) {
        const float x = point.x - placement.centre.x;
        const float y = point.y - placement.centre.y;
        // The whole circle first: most pixels lie outside it.
        if (x * x + y * y > (placement.radius + 1) * (placement.radius + 1)) return 1.0F;
        return placement.radius * signed_distance(figure, {cosine * x + sine * y, cosine * y - sine * x});
      },
      paint);
}

void Canvas::stroke(Point from, Point to, float width, Colour colour) {
  paint_inside([&](Point point) { return segment_distance(point, from, to) - width / 2; },
               [&](Point) { return colour; });
}

std::vector<std::uint8_t> Canvas::bytes() const {
  std::vector<std::uint8_t> bytes;
  bytes.reserve(pixels_.size() * 3);
  for (const Colour& pixel : pixels_) {
    bytes.insert(bytes.end(), {to_byte(pixel.red), to_byte(pixel.green), to_byte(pixel.blue)});
  }
  return bytes;
}

}  // namespace facet::data
