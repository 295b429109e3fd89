#include "facet/augmentation.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "facet/error.h"

namespace facet {
namespace {

/// The values of a preset, all others being off.
Augmentation preset_values(AugmentPreset preset) {
  switch (preset) {
    case AugmentPreset::none:
      return {};
    case AugmentPreset::light:
      return {.random_resized_crop = 0.5,
              .color_jitter = ColorRange{.brightness = 0.2, .contrast = 0.2, .saturation = 0.2}};
    case AugmentPreset::strong:
      return {.random_resized_crop = 0.25,
              .rand_augment = RandAugmentOptions{.operations = 2, .magnitude = 9},
              .random_erasing = 0.1,
              .mixup = 0.2,
              .cutmix = 1.0};
  }
  to_string(preset);  // throws
  return {};
}

/// @param below whether `high` itself is not allowed.
void require(const char* name, double value, double high, bool below = false) {
  if (std::isfinite(value) && value >= 0 && (below ? value < high : value <= high)) return;
  throw Error(fmt::format("{} is {}; 0 {} {} is allowed", name, value, below ? "up to below" : "to", high));
}

}  // namespace

std::string_view to_string(AugmentPreset preset) {
  switch (preset) {
    case AugmentPreset::none:
      return "none";
    case AugmentPreset::light:
      return "light";
    case AugmentPreset::strong:
      return "strong";
  }
  throw Error(fmt::format("augment is {}; none, light and strong are allowed", static_cast<int>(preset)));
}

std::string_view to_string(Interpolation interpolation) {
  switch (interpolation) {
    case Interpolation::nearest:
      return "nearest";
    case Interpolation::bilinear:
      return "bilinear";
  }
  throw Error(fmt::format("interpolation is {}; nearest and bilinear are allowed", static_cast<int>(interpolation)));
}

Augmentation Augmentation::resolved() const {
  const Augmentation values = preset_values(preset);
  Augmentation all = *this;
  const auto complete = [&](auto Augmentation::*member) {
    if (!(all.*member)) all.*member = values.*member;
  };
  complete(&Augmentation::random_resized_crop);
  complete(&Augmentation::rand_augment);
  complete(&Augmentation::rotation);
  complete(&Augmentation::affine);
  complete(&Augmentation::color_jitter);
  complete(&Augmentation::grayscale);
  complete(&Augmentation::blur);
  complete(&Augmentation::random_erasing);
  complete(&Augmentation::mixup);
  complete(&Augmentation::cutmix);
  return all;
}

bool Augmentation::mixes() const {
  const Augmentation values = resolved();
  return values.mixup.value_or(0) > 0 || values.cutmix.value_or(0) > 0;
}

void check_augmentation(const Augmentation& augmentation) {
  to_string(augmentation.preset);  // throws for an invalid value
  to_string(augmentation.interpolation);
  const auto check = [](const char* name, const std::optional<double>& value, double high) {
    if (value) require(name, *value, high);
  };
  constexpr double many = 1000, least_alpha = 0.001;
  check("random_resized_crop", augmentation.random_resized_crop, 1);
  if (const auto& policy = augmentation.rand_augment) {
    require("rand_augment.operations", static_cast<double>(policy->operations), 14);
    require("rand_augment.magnitude", static_cast<double>(policy->magnitude), 30);
    if (augmentation.trivial_augment && policy->operations > 0) {
      throw Error("trivial_augment and rand_augment are both on; one of them is allowed");
    }
  }
  check("rotation", augmentation.rotation, 180);
  if (const auto& range = augmentation.affine) {
    require("affine.degrees", range->degrees, 180);
    require("affine.translate", range->translate, 1);
    require("affine.scale", range->scale, 1, true);
    require("affine.shear", range->shear, 90, true);
  }
  if (const auto& range = augmentation.color_jitter) {
    require("color_jitter.brightness", range->brightness, many);
    require("color_jitter.contrast", range->contrast, many);
    require("color_jitter.saturation", range->saturation, many);
    require("color_jitter.hue", range->hue, 0.5);
  }
  check("grayscale", augmentation.grayscale, 1);
  check("blur", augmentation.blur, 1);
  check("random_erasing", augmentation.random_erasing, 1);
  for (const auto& [name, alpha] : {std::pair("mixup", augmentation.mixup), {"cutmix", augmentation.cutmix}}) {
    if (!alpha || *alpha == 0 || (*alpha >= least_alpha && *alpha <= many)) continue;
    throw Error(fmt::format("{} is {}; 0, or {} to {} is allowed", name, *alpha, least_alpha, many));
  }
}

}  // namespace facet
