#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "facet/export.h"

namespace facet {

/// Sets of random changes that suit photographs.
enum class AugmentPreset : std::uint8_t {
  none,
  light,  ///< random_resized_crop 0.5 and color_jitter 0.2,0.2,0.2,0
  strong  ///< random_resized_crop 0.25, rand_augment 2,9, random_erasing 0.1, mixup 0.2 and cutmix 1
};
/// Returns "none", "light" or "strong". @throws Error when `preset` has another value.
FACET_EXPORT std::string_view to_string(AugmentPreset preset);

/// How pixels between pixels are computed.
enum class Interpolation : std::uint8_t { nearest, bilinear };
/// Returns "nearest" or "bilinear". @throws Error when `interpolation` has another value.
FACET_EXPORT std::string_view to_string(Interpolation interpolation);

/// The ranges of a random affine map.
struct AffineRange {
  double degrees = 0;    ///< rotation, from -degrees to degrees; 0 to 180
  double translate = 0;  ///< shift, from -translate to translate times the width and the height; 0 to 1
  double scale = 0;      ///< scaling, from 1 - scale to 1 + scale; 0 up to below 1
  double shear = 0;      ///< shear along the rows, from -shear to shear degrees; 0 up to below 90
  bool operator==(const AffineRange&) const = default;
};

/// The ranges of a random change of colours. The first three are factors, from max(0, 1 - range) to 1 + range.
struct ColorRange {
  double brightness = 0, contrast = 0, saturation = 0;  ///< 0 to 1000
  double hue = 0;                                       ///< from -hue to hue turns of the colour circle; 0 to 0.5
  bool operator==(const ColorRange&) const = default;
};

/// RandAugment (Cubuk et al. 2020): `operations` changes of 14 that are drawn one after the other, all of that
/// magnitude.
struct RandAugmentOptions {
  std::int64_t operations = 0;  ///< 0 to 14
  std::int64_t magnitude = 9;   ///< 0 to 30
  bool operator==(const RandAugmentOptions&) const = default;
};

/// Random changes of training images, and of the targets where images are mixed, in the order of the members. What is
/// drawn for an image is a function of (seed, epoch, image) and of the change alone: it depends on no other change, and
/// not on the number of processes or threads. Definitions and formulas are those of torchvision's transforms of these
/// names (of tensors of 8 bits), but for the interpolation, which is bilinear by default, also at the border of what
/// lies outside of an image; and the blur's kernel, which is as wide as its standard deviation needs. A change that has
/// no value is as the preset has it; 0 leaves it out.
struct Augmentation {
  AugmentPreset preset = AugmentPreset::none;
  /// RandomResizedCrop: a part of the image with this share of its area at least, and an aspect ratio of 3/4 to 4/3, is
  /// resized to the model's size, in place of the image. It is chosen before the image is decoded, so that only the
  /// part is decoded, and at the scale that it needs. 0 to 1.
  std::optional<double> random_resized_crop = {};
  /// TrivialAugmentWide (Mueller and Hutter 2021): one change of 14, of a random magnitude, in place of RandAugment.
  bool trivial_augment = false;
  std::optional<RandAugmentOptions> rand_augment = {};
  std::optional<double> rotation = {};  ///< RandomRotation, from -rotation to rotation degrees; 0 to 180
  std::optional<AffineRange> affine = {};
  std::optional<ColorRange> color_jitter = {};  ///< ColorJitter
  std::optional<double> grayscale = {};         ///< RandomGrayscale: the probability
  /// GaussianBlur, with a standard deviation of 0.1 to 2 pixels: the probability.
  std::optional<double> blur = {};
  /// RandomErasing: the probability that a rectangle of 2 % to 33 % of the image is filled.
  std::optional<double> random_erasing = {};
  /// Mixup (Zhang et al. 2018): each image becomes w * image + (1 - w) * another image, with w drawn from
  /// Beta(mixup, mixup), and its targets the same mixture of their targets. 0, or 0.001 to 1000.
  ///
  /// Mixup and CutMix draw for groups of 8 consecutive images of a batch (of all processes together), whose partners
  /// are in the group; the groups, not the batch, have one w each, and the partners are a cyclic shift. Where both are
  /// on, each group has one of them. The targets of class indices become distributions, and the loss of an image the
  /// sum of the losses of its labels, each with its class's weight, in these proportions: where one of two images has
  /// no label, the other's counts with its weight alone, and where none has, there is none. Targets that are values are
  /// missing unless both images have them. A Trainer refuses heads that take neither classes nor values; custom_loss
  /// gets the values that the data set has, mixed, and the images' own labels.
  std::optional<double> mixup = {};
  /// CutMix (Yun et al. 2019): a rectangle of another image is pasted into each image; the weight of its targets is
  /// its share of the area, drawn from Beta(cutmix, cutmix). 0, or 0.001 to 1000.
  std::optional<double> cutmix = {};
  Interpolation interpolation = Interpolation::bilinear;  ///< of rotations and other affine maps

  /// Returns these changes with the preset's values for those that have none.
  /// @throws Error when the preset has no such value.
  FACET_EXPORT Augmentation resolved() const;
  /// Whether images are mixed, by Mixup or CutMix.
  FACET_EXPORT bool mixes() const;
};

/// @throws Error naming the first member that is out of range, its value and the allowed ones.
FACET_EXPORT void check_augmentation(const Augmentation& augmentation);

}  // namespace facet
