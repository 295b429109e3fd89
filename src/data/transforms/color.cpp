#include "data/transforms/color.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "data/transforms/color_passes.h"

namespace facet::data {
namespace {

constexpr std::size_t levels = 256;

/// What replaces each value of a channel.
using Table = std::array<std::uint8_t, levels>;
using Histogram = std::array<std::int64_t, levels>;

template <class Function>
Table table_of(const Function& function) {
  Table table{};
  for (std::size_t value = 0; value < levels; ++value) table[value] = static_cast<std::uint8_t>(function(value));
  return table;
}

void look_up(std::span<std::uint8_t> pixels, const std::array<Table, 3>& tables) {
  for (std::size_t i = 0; i < pixels.size(); i += 3) {
    for (std::size_t c = 0; c < 3; ++c) pixels[i + c] = tables[c][pixels[i + c]];
  }
}

std::array<Histogram, 3> histograms(std::span<const std::uint8_t> pixels) {
  std::array<Histogram, 3> counts{};
  for (std::size_t i = 0; i < pixels.size(); i += 3) {
    for (std::size_t c = 0; c < 3; ++c) ++counts[c][pixels[i + c]];
  }
  return counts;
}

/// Replaces the values of each channel by the table that its histogram gives.
template <class TableOf>
void look_up_by_histogram(std::span<std::uint8_t> pixels, const TableOf& table) {
  const std::array<Histogram, 3> counts = histograms(pixels);
  look_up(pixels, {table(counts[0]), table(counts[1]), table(counts[2])});
}

Table identity() {
  return table_of([](std::size_t value) { return value; });
}

Table stretched(const Histogram& counts) {
  const auto is_present = [](std::int64_t count) { return count > 0; };
  const auto low = static_cast<std::size_t>(std::find_if(counts.begin(), counts.end(), is_present) - counts.begin());
  const auto high =
      static_cast<std::size_t>(counts.rend() - std::find_if(counts.rbegin(), counts.rend(), is_present)) - 1;
  if (low >= high) return identity();
  const float scale = 255.0F / static_cast<float>(high - low);
  return table_of([&](std::size_t value) {
    return std::clamp((static_cast<float>(value) - static_cast<float>(low)) * scale, 0.0F, 255.0F);
  });
}

Table equalized(const Histogram& counts) {
  std::int64_t all = 0, last = 0;
  for (const std::int64_t count : counts) {
    all += count;
    if (count > 0) last = count;
  }
  const std::int64_t step = (all - last) / 255;
  if (step == 0) return identity();
  std::int64_t below = step / 2;
  return table_of([&](std::size_t value) {
    const std::int64_t level = std::min<std::int64_t>(below / step, 255);
    below += counts[value];
    return value == 0 ? 0 : level;
  });
}

}  // namespace

void change_colors(std::span<std::uint8_t> pixels, std::span<const ColorStep> steps) {
  float mean = 0;
  for (std::size_t at = 0; at < steps.size();) {
    // The steps up to the next contrast, which needs the mean of what they give.
    std::size_t end = at;
    while (end < steps.size() && (end == at || steps[end].change != ColorChange::contrast)) ++end;
    if (at == 0 && steps[0].change == ColorChange::contrast) mean = color_pass(pixels, {}, 0, true);
    mean = color_pass(pixels, steps.subspan(at, end - at), mean, end < steps.size());
    at = end;
  }
}

void to_grayscale(std::span<std::uint8_t> pixels) {
  change_colors(pixels, std::array{ColorStep{ColorChange::saturation, 0}});
}

void change_sharpness(std::span<std::uint8_t> pixels, ImageSize size, float factor, Scratch& scratch) {
  if (size.height < 3 || size.width < 3) return;
  std::vector<std::uint8_t> before = scratch.take(pixels.size());
  std::ranges::copy(pixels, before.begin());
  const std::size_t stride = static_cast<std::size_t>(size.width) * 3;
  for (std::size_t y = 1; y + 1 < static_cast<std::size_t>(size.height); ++y) {
    sharpen_row(&before[y * stride + 3], static_cast<std::ptrdiff_t>(stride), size.width * 3 - 6, factor,
                &pixels[y * stride + 3]);
  }
  scratch.give(std::move(before));
}

void posterize(std::span<std::uint8_t> pixels, int bits) {
  const Table table = table_of([bits](std::size_t value) { return value & (0xFF00U >> bits); });
  look_up(pixels, {table, table, table});
}

void solarize(std::span<std::uint8_t> pixels, float threshold) {
  const Table table =
      table_of([threshold](std::size_t value) { return static_cast<float>(value) >= threshold ? 255 - value : value; });
  look_up(pixels, {table, table, table});
}

void stretch_contrast(std::span<std::uint8_t> pixels) { look_up_by_histogram(pixels, stretched); }

void equalize(std::span<std::uint8_t> pixels) { look_up_by_histogram(pixels, equalized); }

}  // namespace facet::data
