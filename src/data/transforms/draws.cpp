#include "data/transforms/draws.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace facet::data {
namespace {

constexpr int tries = 10;  // at a rectangle that fits

float draw_between(base::RandomStream& draws, double low, double high) {
  return draws.uniform(static_cast<float>(low), static_cast<float>(high));
}

/// Draws from [-range, range). The number is drawn even where the range is 0, so that other ranges don't depend on it.
double draw_within(base::RandomStream& draws, double range) { return range * (2 * double{draws.uniform()} - 1); }

/// Draws the logarithm of a ratio evenly.
double draw_ratio(base::RandomStream& draws, double low, double high) {
  return std::exp(double{draw_between(draws, std::log(low), std::log(high))});
}

/// Halves are rounded to even, as Python does.
int rounded(double value) { return static_cast<int>(std::nearbyint(value)); }

int draw_offset(base::RandomStream& draws, int excess) {
  return static_cast<int>(draws.below(static_cast<std::uint32_t>(excess) + 1));
}

/// Draws from Gamma(shape, 1) for a shape of at least 1 (Marsaglia and Tsang 2000).
double draw_gamma(base::RandomStream& draws, double shape) {
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double normal = double{draws.normal()}, root = 1 + c * normal;
    const double uniform = 1 - double{draws.uniform()};
    if (root <= 0) continue;
    const double cube = root * root * root;
    if (std::log(uniform) < 0.5 * normal * normal + d - d * cube + d * std::log(cube)) return d * cube;
  }
}

}  // namespace

base::RandomStream draws_of(const LoadRequest& request, Transform transform) {
  // A data set has at most 2^32 - 1 images, so the upper half of the word is free.
  const std::uint64_t image = static_cast<std::uint64_t>(transform) << 32 | static_cast<std::uint64_t>(request.index);
  return {request.seed, base::Purpose::augmentation, static_cast<std::uint64_t>(request.epoch), image};
}

bool draw(base::RandomStream& draws, double probability) { return double{draws.uniform()} < probability; }

Region draw_crop(base::RandomStream& draws, ImageSize whole, double least) {
  constexpr double low = 3.0 / 4, high = 4.0 / 3;
  const double area = static_cast<double>(whole.width) * whole.height;
  for (int i = 0; i < tries; ++i) {
    const double target = area * double{draw_between(draws, least, 1)};
    const double ratio = draw_ratio(draws, low, high);
    const int width = rounded(std::sqrt(target * ratio)), height = rounded(std::sqrt(target / ratio));
    if (width < 1 || width > whole.width || height < 1 || height > whole.height) continue;
    const int top = draw_offset(draws, whole.height - height);
    const int left = draw_offset(draws, whole.width - width);
    return {.left = left, .top = top, .width = width, .height = height};
  }
  // The centre, of an aspect ratio in range.
  const double ratio = static_cast<double>(whole.width) / whole.height;
  int width = whole.width, height = whole.height;
  if (ratio < low) height = rounded(width / low);
  if (ratio > high) width = rounded(height * high);
  return {.left = (whole.width - width) / 2, .top = (whole.height - height) / 2, .width = width, .height = height};
}

std::optional<Region> draw_erased(base::RandomStream& draws, ImageSize size) {
  const double area = static_cast<double>(size.width) * size.height;
  for (int i = 0; i < tries; ++i) {
    const double target = area * double{draw_between(draws, 0.02, 0.33)};
    const double ratio = draw_ratio(draws, 0.3, 3.3);
    const int height = rounded(std::sqrt(target * ratio)), width = rounded(std::sqrt(target / ratio));
    if (height >= size.height || width >= size.width) continue;
    const int top = draw_offset(draws, size.height - height);
    const int left = draw_offset(draws, size.width - width);
    return Region{.left = left, .top = top, .width = width, .height = height};
  }
  return std::nullopt;
}

AffineMap draw_affine(base::RandomStream& draws, const AffineRange& range, ImageSize size) {
  AffineMap map;
  map.degrees = draw_within(draws, range.degrees);
  map.right = rounded(draw_within(draws, range.translate * size.width));
  map.down = rounded(draw_within(draws, range.translate * size.height));
  map.scale = 1 + draw_within(draws, range.scale);
  map.shear_x = draw_within(draws, range.shear);
  return map;
}

ColorSteps draw_colors(base::RandomStream& draws, const ColorRange& range) {
  std::array order{ColorChange::brightness, ColorChange::contrast, ColorChange::saturation, ColorChange::hue};
  for (std::uint32_t left = order.size(); left > 1; --left) std::swap(order[left - 1], order[draws.below(left)]);
  ColorSteps drawn;
  const std::array ranges{range.brightness, range.contrast, range.saturation};
  for (const ColorChange change : order) {
    const bool is_hue = change == ColorChange::hue;
    const double width = is_hue ? range.hue : ranges[static_cast<std::size_t>(change)];
    const float factor = draw_between(draws, is_hue ? -width : std::max(0.0, 1 - width), is_hue ? width : 1 + width);
    if (width > 0) drawn.steps[drawn.count++] = {change, factor};
  }
  return drawn;
}

double draw_beta(base::RandomStream& draws, double alpha) {
  // Gamma(alpha) is Gamma(alpha + 1) * uniform^(1 / alpha); in logarithms, since that is tiny for a small alpha.
  const auto log_gamma = [&] {
    const double gamma = draw_gamma(draws, alpha + 1);
    return std::log(gamma) + std::log(1 - double{draws.uniform()}) / alpha;
  };
  const double first = log_gamma(), second = log_gamma();
  return 1 / (1 + std::exp(second - first));
}

}  // namespace facet::data
