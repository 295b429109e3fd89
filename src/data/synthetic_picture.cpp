#include "data/synthetic_picture.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "data/drawing.h"

namespace facet::data {
namespace {

using base::RandomStream;

/// The colours of a picture. The ground is all dark or all light and the rest stands out against it, so that no pixel's
/// brightness tells anything by itself.
struct Palette {
  Colour ground_from;
  Colour ground_to;
  Colour vivid;  ///< of the figure's stripes: one of three hues
  Colour pale;   ///< of what lies between them, and of the satellites
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

/// From one colour to the other along a random direction.
Canvas draw_ground(int size, const Palette& palette, RandomStream& random) {
  const Point along = direction(random.uniform(0, 2 * std::numbers::pi_v<float>));
  const float middle = 0.5F * static_cast<float>(size);
  return Canvas(size, [&](Point p) {
    const float position = ((p.x - middle) * along.x + (p.y - middle) * along.y) / static_cast<float>(size);
    return mix(palette.ground_from, palette.ground_to, std::clamp(position + 0.5F, 0.0F, 1.0F));
  });
}

/// Thin strokes across the picture, which mean nothing.
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

/// The central figure: its shape is the race, the direction of its stripes (level or upright) the gender.
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

/// One, three or five small discs in the picture's margin. Each has a cell of a 4 x 4 grid to itself, of the 12 at its
/// edge.
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

/// Exposure of the whole picture and noise of each pixel.
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

}  // namespace facet::data
