#include "data/decode/resize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "facet/error.h"
#include "facet/image.h"

namespace facet {
namespace data {

namespace {

/// The filter weights of the outputs, which may differ in number.
class Weights {
 public:
  explicit Weights(std::size_t outputs) {
    outputs_.reserve(outputs);
    fixed_.reserve(2 * outputs);
  }

  /// Adds an output. Inputs at either end whose weight rounds to 0 are left out: when the end of the triangle meets the
  /// centre of a pixel, rounding decides whether that pixel is included.
  void add(int begin, const std::vector<double>& weights, double total) {
    Output output{begin, 0, fixed_.size()};
    const double share = 1.0 / total;
    for (const double weight : weights) {
      const auto fixed = static_cast<std::int32_t>(0.5 + weight * share * (1 << weight_bits));
      if (fixed == 0 && output.count == 0) {
        ++output.first;
      } else {
        fixed_.push_back(fixed);
        ++output.count;
      }
    }
    for (; fixed_.back() == 0; fixed_.pop_back()) --output.count;
    outputs_.push_back(output);
  }

  /// Returns the weights, padded with zeros so that all outputs have as many as the one that has the most.
  /// @param end the padding doesn't go there.
  Taps taps(int end) const {
    Taps taps;
    for (const Output& output : outputs_) taps.count = std::max(taps.count, output.count);
    const auto count = static_cast<std::size_t>(taps.count);
    taps.weights.resize(outputs_.size() * count);
    taps.first.reserve(outputs_.size());
    for (std::size_t o = 0; o < outputs_.size(); ++o) {
      const Output& output = outputs_[o];
      taps.first.push_back(std::min(output.first, end - taps.count));
      std::copy_n(fixed_.begin() + static_cast<std::ptrdiff_t>(output.at), output.count,
                  taps.weights.begin() + static_cast<std::ptrdiff_t>(o * count) + output.first - taps.first[o]);
    }
    return taps;
  }

 private:
  struct Output {
    int first;       // first input
    int count;       // number of weights
    std::size_t at;  // index of the first weight in fixed_
  };
  std::vector<Output> outputs_;
  std::vector<std::int32_t> fixed_;
};

/// The triangle of an axis. This is the arithmetic of Pillow's Resample.c, in the same order, so that the weights are
/// bit-identical.
struct Triangle {
  Triangle(int length, std::int64_t outputs)
      : inputs(length), scale(length / static_cast<double>(outputs)), support(std::max(scale, 1.0)) {}

  int inputs;
  double scale, support;
};

/// The inputs under the triangle of an output.
struct Window {
  Window(const Triangle& triangle, std::int64_t output)
      : center((static_cast<double>(output) + 0.5) * triangle.scale),
        begin(std::max(static_cast<int>(center - triangle.support + 0.5), 0)),
        end(std::min(static_cast<int>(center + triangle.support + 0.5), triangle.inputs)) {}

  double center;
  int begin, end;
};

}  // namespace

Taps triangle_taps(int inputs, std::int64_t outputs, std::int64_t first, int count, int end) {
  const Triangle triangle(inputs, outputs);
  const double shrink = 1.0 / triangle.support;
  Weights all(static_cast<std::size_t>(count));
  std::vector<double> weights;
  for (std::int64_t o = first; o < first + count; ++o) {
    const Window window(triangle, o);
    weights.clear();
    double total = 0;
    for (int i = window.begin; i < window.end; ++i) {
      const double distance = std::abs((i - window.center + 0.5) * shrink);
      weights.push_back(std::max(1.0 - distance, 0.0));
      total += weights.back();
    }
    all.add(window.begin, weights, total);
  }
  return all.taps(end);
}

Taps triangle_taps(int inputs, std::int64_t outputs, std::int64_t first, int count) {
  return triangle_taps(inputs, outputs, first, count, inputs);
}

namespace {

/// What is resized, the size to which it is resized, and where the part that is kept begins in that.
struct Frame {
  Region source;  // as if the image ended at its edges
  std::int64_t width, height;
  std::int64_t left, top;
};

Frame frame_of(ImageSize image, ImageSize size, ResizeMode mode) {
  const Region whole{.width = image.width, .height = image.height};
  if (mode == ResizeMode::squash) return {whole, size.width, size.height, 0, 0};
  const ImageSize covered = covered_size(size, mode);
  // One of the extents in proportion is at least the covered one, and the other at most.
  const std::int64_t width =
      std::max<std::int64_t>(covered.width, std::int64_t{covered.height} * image.width / image.height);
  const std::int64_t height =
      std::max<std::int64_t>(covered.height, std::int64_t{covered.width} * image.height / image.width);
  return {whole, width, height, crop_offset(width - size.width), crop_offset(height - size.height)};
}

/// The first position that is read along an axis, and the one after the last.
struct Span {
  int begin, end;
};

/// @param whole the length of the axis, which is resized to `outputs`, of which `count` are kept from `first`.
Span read_span(int whole, std::int64_t outputs, std::int64_t first, int count) {
  if (outputs == whole) return {static_cast<int>(first), static_cast<int>(first) + count};
  const Triangle triangle(whole, outputs);
  return {Window(triangle, first).begin, Window(triangle, first + count - 1).end};
}

void check(const Image& image, ImageSize size, std::span<std::uint8_t> pixels) {
  const auto bytes = [](int width, int height) {
    return static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3;
  };
  if (image.width < 1 || image.height < 1 || image.pixels.size() != bytes(image.width, image.height)) {
    throw Error(fmt::format("an image of {}x{} has {} bytes of pixels; width x height x 3 are needed", image.width,
                            image.height, image.pixels.size()));
  }
  if (size.height < 1 || size.width < 1 || pixels.size() != bytes(size.width, size.height)) {
    throw Error(fmt::format("the output buffer for {} pixels has {} bytes; height x width x 3 are needed",
                            to_string(size), pixels.size()));
  }
}

/// Consecutive rows of an image, which may end with the image's last row.
struct Rows {
  const std::uint8_t* first;
  std::ptrdiff_t stride;
  int count;
};

/// Resizes rows to another width. The last rows are resized from a copy, because resize_rows reads behind its input.
void resize_width(const Rows& rows, const Taps& taps, std::uint8_t* out, Scratch& scratch) {
  const auto copied = static_cast<int>(std::min<std::ptrdiff_t>(rows.count, resize_slack / rows.stride + 1));
  const int direct = rows.count - copied;
  resize_rows(rows.first, rows.stride, direct, taps, out);
  const std::ptrdiff_t bytes = rows.stride * copied;
  std::vector<std::uint8_t> last = scratch.take(static_cast<std::size_t>(bytes) + resize_slack);
  std::copy_n(rows.first + rows.stride * direct, bytes, last.begin());
  resize_rows(last.data(), rows.stride, copied, taps, out + std::ssize(taps.first) * 3 * direct);
  scratch.give(std::move(last));
}

void resize(const Image& image, const Placement& placement, const Frame& frame, ImageSize size, std::uint8_t* pixels,
            Scratch& scratch) {
  const Region& source = frame.source;
  const int left = source.left - placement.left, top = source.top - placement.top;  // in the pixels of `image`
  const std::ptrdiff_t bytes = std::ptrdiff_t{size.width} * 3;
  Rows rows{image.pixels.data(), std::ptrdiff_t{image.width} * 3, size.height};
  Taps down;  // only if the height changes
  if (frame.height == source.height) {
    rows.first += (frame.top + top) * rows.stride;
  } else {
    down =
        triangle_taps(source.height, frame.height, frame.top, size.height, std::min(source.height, image.height - top));
    const auto [lowest, highest] = std::minmax_element(down.first.begin(), down.first.end());
    const int first = *lowest;
    rows.first += (first + top) * rows.stride;
    rows.count = *highest + down.count - first;
    for (int& row : down.first) row -= first;
  }
  std::vector<std::uint8_t> narrowed;
  if (frame.width == source.width) {
    rows.first += (frame.left + left) * 3;
  } else {
    Taps across =
        triangle_taps(source.width, frame.width, frame.left, size.width, std::min(source.width, image.width - left));
    for (int& column : across.first) column += left;
    if (down.first.empty()) return resize_width(rows, across, pixels, scratch);
    narrowed = scratch.take(static_cast<std::size_t>(rows.count) * static_cast<std::size_t>(bytes));
    resize_width(rows, across, narrowed.data(), scratch);
    rows = {narrowed.data(), bytes, rows.count};
  }
  if (down.first.empty()) {
    for (int y = 0; y < size.height; ++y) std::copy_n(rows.first + y * rows.stride, bytes, pixels + y * bytes);
  } else {
    mix_rows(rows.first, rows.stride, size.width * 3, down, pixels);
  }
  scratch.give(std::move(narrowed));
}

/// @throws Error when the image lacks pixels that are needed.
void require_pixels(const Image& image, const Placement& placement, const Region& needed) {
  const auto& [whole, left, top] = placement;
  if (left <= needed.left && top <= needed.top && left + image.width >= needed.left + needed.width &&
      top + image.height >= needed.top + needed.height) {
    return;
  }
  throw Error(fmt::format("the part of {}x{} pixels at ({}, {}) lacks pixels of the {}x{} at ({}, {}) that are needed",
                          image.width, image.height, left, top, needed.width, needed.height, needed.left, needed.top));
}

}  // namespace

std::int64_t crop_offset(std::int64_t excess) { return excess / 2 + (excess % 2 == 1 && excess / 2 % 2 == 1 ? 1 : 0); }

Region resized_region(ImageSize whole, ImageSize size, ResizeMode mode) {
  const Frame frame = frame_of(whole, size, mode);
  const Span across = read_span(whole.width, frame.width, frame.left, size.width);
  const Span down = read_span(whole.height, frame.height, frame.top, size.height);
  return {across.begin, down.begin, across.end - across.begin, down.end - down.begin};
}

void resize_image(const Image& image, const Placement& placement, ImageSize size, ResizeMode mode,
                  std::span<std::uint8_t> pixels, Scratch& scratch) {
  check(image, size, pixels);
  require_pixels(image, placement, resized_region(placement.whole, size, mode));
  resize(image, placement, frame_of(placement.whole, size, mode), size, pixels.data(), scratch);
}

void resize_region(const Image& image, const Placement& placement, const Region& region, ImageSize size,
                   std::span<std::uint8_t> pixels, Scratch& scratch) {
  check(image, size, pixels);
  require_within(region, placement.whole);
  require_pixels(image, placement, region);
  const Frame frame{.source = region, .width = size.width, .height = size.height, .left = 0, .top = 0};
  resize(image, placement, frame, size, pixels.data(), scratch);
}

}  // namespace data

std::string_view to_string(ResizeMode mode) {
  switch (mode) {
    case ResizeMode::squash:
      return "squash";
    case ResizeMode::crop:
      return "crop";
    case ResizeMode::cover:
      return "cover";
  }
  throw Error(fmt::format("the resize mode is {}; squash and crop are allowed", static_cast<int>(mode)));
}

ResizeMode parse_resize_mode(std::string_view text) {
  for (const ResizeMode mode : {ResizeMode::squash, ResizeMode::crop}) {
    if (text == to_string(mode)) return mode;
  }
  throw Error(fmt::format("the resize mode is '{}'; squash and crop are allowed", text));
}

ImageSize covered_size(ImageSize size, ResizeMode mode) {
  const auto covered = [&](int side) {
    const std::int64_t extent = mode == ResizeMode::crop ? std::int64_t{side} * 8 / 7 : side;
    if (side < 1 || extent > std::numeric_limits<int>::max()) {
      throw Error(fmt::format(
          "the image size is {} with resize mode {}; each side must be at least 1, and at most {} before a crop",
          to_string(size), to_string(mode), std::numeric_limits<int>::max()));
    }
    return static_cast<int>(extent);
  };
  return {covered(size.height), covered(size.width)};
}

void resize(const Image& image, ImageSize size, ResizeMode mode, std::span<std::uint8_t> pixels) {
  data::Scratch scratch;
  data::resize_image(image, {.whole = {image.height, image.width}}, size, mode, pixels, scratch);
}

}  // namespace facet
