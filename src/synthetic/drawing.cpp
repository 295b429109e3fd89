#include "synthetic/drawing.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <span>
#include <utility>

namespace facet::synthetic {

namespace {

constexpr float pi = std::numbers::pi_v<float>;

Point on_circle(float radius, float turns) {
  return {radius * std::cos(2 * pi * turns), radius * std::sin(2 * pi * turns)};
}

/// Returns `count` points around the origin, alternately at radius 1 and at radius `inner`, starting at the top.
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
    // A ray from `p` to the right crosses this edge.
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
        // Most pixels lie outside the figure's circle, which is cheap to test.
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

namespace {

using base::RandomStream;

/// The colours of a picture. The ground is dark or light as a whole and the rest contrasts with it, so that a pixel's
/// brightness alone carries no information.
struct Palette {
  Colour ground_from;
  Colour ground_to;
  Colour vivid;  ///< of the figure's stripes, in one of three hues
  Colour pale;   ///< of the gaps between the stripes, and of the satellites
};

Palette draw_palette(int hue, RandomStream& random) {
  constexpr std::array<float, 3> hues = {0.0F, 0.36F, 0.63F};
  const bool dark = random.below(2) == 0;
  const auto pale = [&](float low, float high) {
    const float any_hue = random.uniform();
    const float saturation = random.uniform(0, 0.4F);
    const float value = random.uniform(low, high);
    return hsv(any_hue, saturation, dark ? value : 1 - value);
  };
  Palette palette;
  palette.ground_from = pale(0.05F, 0.35F);
  palette.ground_to = pale(0.05F, 0.35F);
  palette.pale = pale(0.75F, 1.0F);
  const float vivid_hue = hues[static_cast<std::size_t>(hue)] + random.uniform(-0.05F, 0.05F);
  const float saturation = random.uniform(0.7F, 1.0F);
  palette.vivid = hsv(vivid_hue, saturation, dark ? random.uniform(0.75F, 1.0F) : random.uniform(0.45F, 0.7F));
  return palette;
}

Point direction(float angle) { return {std::cos(angle), std::sin(angle)}; }

/// Draws a gradient from one ground colour to the other along a random direction.
Canvas draw_ground(int size, const Palette& palette, RandomStream& random) {
  const Point along = direction(random.uniform(0, 2 * std::numbers::pi_v<float>));
  const float middle = 0.5F * static_cast<float>(size);
  return Canvas(size, [&](Point p) {
    const float position = ((p.x - middle) * along.x + (p.y - middle) * along.y) / static_cast<float>(size);
    return mix(palette.ground_from, palette.ground_to, std::clamp(position + 0.5F, 0.0F, 1.0F));
  });
}

/// Draws thin strokes across the picture, which carry no information.
void draw_strokes(Canvas& canvas, RandomStream& random) {
  const auto size = static_cast<float>(canvas.size());
  const std::uint32_t count = 1 + random.below(3);
  for (std::uint32_t i = 0; i < count; ++i) {
    const Point from{random.uniform(0, size), random.uniform(0, size)};
    const float length = random.uniform(0.2F, 0.6F) * size;
    const Point along = direction(random.uniform(0, 2 * std::numbers::pi_v<float>));
    const float width = random.uniform(0.01F, 0.025F) * size;
    const float hue = random.uniform();
    const float saturation = random.uniform();
    const Colour colour = hsv(hue, saturation, random.uniform());
    canvas.stroke(from, {from.x + length * along.x, from.y + length * along.y}, width, colour);
  }
}

/// Draws the central figure. Its shape encodes race, the direction of its stripes (horizontal or vertical) gender.
void draw_figure(Canvas& canvas, const SyntheticLabels& labels, const Palette& palette, RandomStream& random) {
  const auto size = static_cast<float>(canvas.size());
  Placement placement;
  placement.centre = {random.uniform(0.45F, 0.55F) * size, random.uniform(0.45F, 0.55F) * size};
  placement.radius = random.uniform(0.21F, 0.25F) * size;
  placement.angle = random.uniform(-0.2F, 0.2F);
  const float turn = labels.gender == 0 ? 0.5F * std::numbers::pi_v<float> : 0.0F;
  const Point across = direction(turn + random.uniform(-0.2F, 0.2F));
  const float period = random.uniform(0.09F, 0.13F) * size;
  const float phase = random.uniform();
  canvas.fill(static_cast<Figure>(labels.race), placement, [&](Point p) {
    const float turns = (p.x * across.x + p.y * across.y) / period + phase;
    const float wave = std::sin(2 * std::numbers::pi_v<float> * turns);
    return mix(palette.vivid, palette.pale, std::clamp(0.5F + 1.5F * wave, 0.0F, 1.0F));
  });
}

/// Draws one, three or five small discs in the picture's margin. Each has its own cell among the 12 border cells of a
/// 4 x 4 grid.
void draw_satellites(Canvas& canvas, int count, const Palette& palette, RandomStream& random) {
  const auto size = static_cast<float>(canvas.size());
  std::array<int, 12> cells = {0, 1, 2, 3, 4, 7, 8, 11, 12, 13, 14, 15};
  for (std::uint32_t i = 0; i + 1 < cells.size(); ++i) std::swap(cells[i], cells[i + random.below(12 - i)]);
  for (int i = 0; i < count; ++i) {
    const int cell = cells[static_cast<std::size_t>(i)];
    const Point centre{(static_cast<float>(cell % 4) * 0.25F + 0.125F + random.uniform(-0.05F, 0.05F)) * size,
                       (static_cast<float>(cell / 4) * 0.25F + 0.125F + random.uniform(-0.05F, 0.05F)) * size};
    const float radius = random.uniform(0.045F, 0.065F) * size;
    canvas.fill(Figure::disc, {centre, radius, 0}, [&](Point) { return palette.pale; });
  }
}

/// Changes the exposure of the whole picture and adds noise to each pixel.
void disturb(Canvas& canvas, RandomStream& random) {
  const float gain = random.uniform(0.8F, 1.1F);
  const float offset = random.uniform(-0.05F, 0.05F);
  const float noise = random.uniform(0.02F, 0.06F);
  for (Colour& pixel : canvas.pixels()) {
    pixel.red = gain * pixel.red + offset + noise * random.normal();
    pixel.green = gain * pixel.green + offset + noise * random.normal();
    pixel.blue = gain * pixel.blue + offset + noise * random.normal();
  }
}

}  // namespace

std::vector<std::uint8_t> draw_synthetic(const SyntheticLabels& labels, int size, RandomStream random) {
  const Palette palette = draw_palette(labels.age % 3, random);
  Canvas canvas = draw_ground(size, palette, random);
  draw_strokes(canvas, random);
  draw_figure(canvas, labels, palette, random);
  draw_satellites(canvas, 1 + 2 * (labels.age / 3), palette, random);
  disturb(canvas, random);
  return canvas.bytes();
}

}  // namespace facet::synthetic
