#include "data/transforms/policy.h"

#include <array>
#include <cmath>
#include <numbers>

#include "data/transforms/color.h"

namespace facet::data {
namespace {

constexpr int magnitudes = 31;

/// How strong an operation is at the lowest and the highest magnitude.
struct MagnitudeRange {
  double low = 0, high = 0;
  bool is_signed = false;  ///< the sign is drawn
};
using PolicySpace = std::array<MagnitudeRange, operations>;

double magnitude_of(const MagnitudeRange& range, std::int64_t magnitude) {
  return range.low + (range.high - range.low) * static_cast<double>(magnitude) / (magnitudes - 1);
}

PolicyStep step_of(base::RandomStream& draws, Operation operation, double magnitude, bool is_signed) {
  // A number of bits is whole; halves are rounded to even, as Python does.
  if (operation == Operation::posterize) magnitude = 8 - std::nearbyint(8 - magnitude);
  return {operation, is_signed && draws.below(2) == 1 ? -magnitude : magnitude};
}

float factor_of(const PolicyStep& step) { return static_cast<float>(1 + step.magnitude); }

void change(ColorChange kind, const PolicyStep& step, std::span<std::uint8_t> pixels) {
  change_colors(pixels, std::array{ColorStep{kind, factor_of(step)}});
}

/// Returns the map of one of the operations that move pixels.
AffineMap map_of(const PolicyStep& step, ImageSize size) {
  const double slope_degrees = std::atan(step.magnitude) * 180 / std::numbers::pi;
  switch (step.operation) {
    case Operation::shear_x:
      return {.shear_x = slope_degrees, .center_x = -size.width * 0.5, .center_y = -size.height * 0.5};
    case Operation::shear_y:
      return {.shear_y = slope_degrees, .center_x = -size.width * 0.5, .center_y = -size.height * 0.5};
    case Operation::translate_x:
      return {.right = std::trunc(step.magnitude)};
    case Operation::translate_y:
      return {.down = std::trunc(step.magnitude)};
    default:
      return {.degrees = -step.magnitude};  // counter-clockwise
  }
}

}  // namespace

PolicyStep draw_rand_augment(base::RandomStream& draws, std::int64_t magnitude, ImageSize size) {
  constexpr double translation = 150.0 / 331.0;
  const PolicySpace space{{{},
                           {0, 0.3, true},
                           {0, 0.3, true},
                           {0, translation * size.width, true},
                           {0, translation * size.height, true},
                           {0, 30, true},
                           {0, 0.9, true},
                           {0, 0.9, true},
                           {0, 0.9, true},
                           {0, 0.9, true},
                           {8, 4, false},
                           {255, 0, false},
                           {},
                           {}}};
  const std::uint32_t drawn = draws.below(operations);
  const MagnitudeRange& range = space[drawn];
  return step_of(draws, static_cast<Operation>(drawn), magnitude_of(range, magnitude), range.is_signed);
}

PolicyStep draw_trivial_augment(base::RandomStream& draws) {
  constexpr PolicySpace space{{{},
                               {0, 0.99, true},
                               {0, 0.99, true},
                               {0, 32, true},
                               {0, 32, true},
                               {0, 135, true},
                               {0, 0.99, true},
                               {0, 0.99, true},
                               {0, 0.99, true},
                               {0, 0.99, true},
                               {8, 2, false},
                               {255, 0, false},
                               {},
                               {}}};
  const std::uint32_t drawn = draws.below(operations);
  const MagnitudeRange& range = space[drawn];
  const double magnitude = magnitude_of(range, draws.below(magnitudes));
  return step_of(draws, static_cast<Operation>(drawn), magnitude, range.is_signed);
}

void apply(const PolicyStep& step, std::span<std::uint8_t> pixels, ImageSize size, const Filling& filling,
           Scratch& scratch) {
  switch (step.operation) {
    case Operation::identity:
      return;
    case Operation::shear_x:
    case Operation::shear_y:
    case Operation::translate_x:
    case Operation::translate_y:
    case Operation::rotate:
      return transform_affine(pixels, size, inverse_of(map_of(step, size), size), filling.interpolation, filling.color,
                              scratch);
    case Operation::brightness:
      return change(ColorChange::brightness, step, pixels);
    case Operation::color:
      return change(ColorChange::saturation, step, pixels);
    case Operation::contrast:
      return change(ColorChange::contrast, step, pixels);
    case Operation::sharpness:
      return change_sharpness(pixels, size, factor_of(step), scratch);
    case Operation::posterize:
      return posterize(pixels, static_cast<int>(step.magnitude));
    case Operation::solarize:
      return solarize(pixels, static_cast<float>(step.magnitude));
    case Operation::auto_contrast:
      return stretch_contrast(pixels);
    case Operation::equalize:
      return equalize(pixels);
  }
}

}  // namespace facet::data
