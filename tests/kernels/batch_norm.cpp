#include "kernels/batch_norm.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "base/parallel.h"
#include "base/random.h"
#include "each_cpu_isa.h"

using namespace facet;
using kernels::Activation;
using kernels::BatchNormShape;

namespace {

constexpr float eps = 1e-5F;

struct Case {
  BatchNormShape shape;
  Activation activation;
  bool residual;
  bool in_wider_rows = false;  ///< whether `computed` stores x and diff_x_before so
  std::vector<float> x, added, diff_y, weight, bias;
  std::vector<float> diff_x_before;  ///< empty: none

  Case(std::int64_t rows, std::int64_t channels, Activation final_activation, bool with_residual,
       std::int64_t threads = 2)
      : shape{rows, channels, threads, channels},
        activation(final_activation),
        residual(with_residual),
        x(rows * channels),
        added(x.size()),
        diff_y(x.size()),
        weight(channels),
        bias(channels) {
    base::RandomStream random(11, base::Purpose::synthesis);
    const auto draw = [&] { return float_of_bf16(nearest_bf16(random.normal())); };  // exact in both types
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = float_of_bf16(nearest_bf16(3 + random.normal()));
      added[i] = draw();
      diff_y[i] = draw();
    }
    for (auto& value : weight) value = draw();
    for (auto& value : bias) value = draw();
  }

  /// With max pooling of images of height x width.
  void pool(std::int64_t height, std::int64_t width, std::int64_t kernel, std::int64_t stride, std::int64_t padding) {
    const auto out = [&](std::int64_t extent) { return (extent + 2 * padding - kernel) / stride + 1; };
    shape.pool = {height, width, kernel, stride, padding, out(height), out(width)};
    diff_y.resize(static_cast<std::size_t>(shape.y_rows() * shape.channels));
  }
};

struct Result {
  std::vector<double> mean, variance, y, diff_x, diff_residual, diff_weight, diff_bias;
};

/// Pools y. `gradient` receives the sum of diff_y of the windows whose maximum a value is: the first of equal ones.
std::vector<double> defined_pool(const Case& c, const std::vector<double>& y, std::vector<double>& gradient) {
  const kernels::MaxPoolShape& pool = *c.shape.pool;
  std::vector<double> pooled(c.diff_y.size());
  for (std::size_t i = 0; i < pooled.size(); ++i) {
    const auto channel = static_cast<std::int64_t>(i) % c.shape.channels,
               out = static_cast<std::int64_t>(i) / c.shape.channels;
    const std::int64_t image = out / (pool.out_height * pool.out_width);
    std::int64_t largest = -1;
    for (std::int64_t index = 0; index < pool.kernel * pool.kernel; ++index) {
      const std::int64_t row =
          out / pool.out_width % pool.out_height * pool.stride - pool.padding + index / pool.kernel;
      const std::int64_t column = out % pool.out_width * pool.stride - pool.padding + index % pool.kernel;
      if (row < 0 || row >= pool.height || column < 0 || column >= pool.width) continue;
      const std::int64_t at = ((image * pool.height + row) * pool.width + column) * c.shape.channels + channel;
      if (largest < 0 || y[at] > y[largest]) largest = at;
    }
    pooled[i] = y[largest];
    gradient[largest] += c.diff_y[i];
  }
  return pooled;
}

/// The definition, in double.
Result defined(const Case& c) {
  const auto rows = c.shape.rows;
  const auto channels = c.shape.channels;
  Result r{std::vector<double>(channels),   std::vector<double>(channels),   std::vector<double>(c.x.size()),
           std::vector<double>(c.x.size()), std::vector<double>(c.x.size()), std::vector<double>(channels),
           std::vector<double>(channels)};
  std::vector<double> value(c.x.size()), gradient(c.diff_y.begin(), c.diff_y.end());
  const double lower = c.activation == Activation::none ? -INFINITY : 0;
  const double upper = c.activation == Activation::relu6 ? 6 : INFINITY;
  const auto for_each =
      [&](const auto& body) {  // calls body(channel, each), where each(body) is for the channel's rows
        for (std::int64_t channel = 0; channel < channels; ++channel) {
          body(channel, [&](const auto& of_row) {
            for (std::int64_t row = 0; row < rows; ++row) of_row(static_cast<std::size_t>(row * channels + channel));
          });
        }
      };
  const auto n = static_cast<double>(rows);
  const auto root = [&](std::int64_t channel) { return std::sqrt(r.variance[channel] + eps); };
  for_each([&](std::int64_t channel, const auto& each) {
    each([&](std::size_t i) { r.mean[channel] += c.x[i] / n; });
    each([&](std::size_t i) { r.variance[channel] += std::pow(c.x[i] - r.mean[channel], 2) / n; });
    each([&](std::size_t i) {
      value[i] = (c.x[i] - r.mean[channel]) / root(channel) * c.weight[channel] + c.bias[channel] +
                 (c.residual ? static_cast<double>(c.added[i]) : 0);
      r.y[i] = std::clamp(value[i], lower, upper);
    });
  });
  if (c.shape.pool) {
    gradient.assign(c.x.size(), 0);
    r.y = defined_pool(c, r.y, gradient);
  }
  for_each([&](std::int64_t channel, const auto& each) {
    double sum = 0;
    double products = 0;
    each([&](std::size_t i) {
      r.diff_residual[i] = value[i] > lower && value[i] < upper ? gradient[i] : 0;
      sum += r.diff_residual[i];
      products += r.diff_residual[i] * (c.x[i] - r.mean[channel]);
    });
    r.diff_bias[channel] = sum;
    r.diff_weight[channel] = products / root(channel);
    each([&](std::size_t i) {
      r.diff_x[i] =
          c.weight[channel] / root(channel) *
              (r.diff_residual[i] - sum / n - (c.x[i] - r.mean[channel]) / std::pow(root(channel), 2) * products / n) +
          (c.diff_x_before.empty() ? 0 : static_cast<double>(c.diff_x_before[i]));
    });
  });
  return r;
}

template <class T>
T to(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    return nearest_bf16(value);
  }
}
float from(float value) { return value; }
float from(std::uint16_t value) { return float_of_bf16(value); }

template <class T>
std::vector<T> as(const std::vector<float>& values) {
  std::vector<T> result;
  for (const float value : values) result.push_back(to<T>(value));
  return result;
}

template <class T>
std::vector<double> back(const std::vector<T>& values) {
  std::vector<double> result;
  for (const T value : values) result.push_back(from(value));
  return result;
}

/// The same rows, each followed by NaN, which must not be read.
template <class T>
std::vector<T> widened(const std::vector<T>& values, std::int64_t channels, std::int64_t stride) {
  std::vector<T> result(values.size() / channels * stride, to<T>(NAN));
  for (std::size_t i = 0; i < values.size(); ++i) result[i / channels * stride + i % channels] = values[i];
  return result;
}

template <class T>
Result computed(const Case& c) {
  const std::size_t channels = c.weight.size();
  BatchNormShape shape = c.shape;
  if (c.in_wider_rows) shape.x_stride += 5;
  std::vector<float> scratch(kernels::batch_norm_scratch(shape), NAN);
  std::vector<float> mean(channels), variance(channels), diff_weight(channels), diff_bias(channels);
  const std::vector<T> x = widened(as<T>(c.x), shape.channels, shape.x_stride);
  const std::vector<T> before = widened(as<T>(c.diff_x_before), shape.channels, shape.x_stride);
  const std::vector<T> added = as<T>(c.added);
  const std::vector<T> diff_y = as<T>(c.diff_y);
  std::vector<T> y(diff_y.size()), diff_x(c.x.size()), diff_residual(c.x.size());
  std::vector<std::uint8_t> indices(diff_y.size());
  kernels::batch_norm_statistics(shape, x.data(), mean.data(), variance.data(), scratch.data());
  const kernels::BatchNormParameters parameters{mean.data(), variance.data(), c.weight.data(), c.bias.data(), eps};
  kernels::batch_norm_forward(shape, parameters, x.data(), c.residual ? added.data() : nullptr, c.activation, y.data(),
                              indices.data(), scratch.data());
  kernels::batch_norm_backward<T>(shape, parameters, c.activation,
                                  {.x = x.data(),
                                   .y = c.residual ? y.data() : nullptr,
                                   .diff_y = diff_y.data(),
                                   .diff_residual = c.residual ? diff_residual.data() : nullptr,
                                   .diff_x_before = before.empty() ? nullptr : before.data(),
                                   .diff_x_before_stride = shape.x_stride,
                                   .diff_x = diff_x.data(),
                                   .diff_weight = diff_weight.data(),
                                   .diff_bias = diff_bias.data(),
                                   .indices = indices.data()},
                                  scratch.data());
  return {back(mean), back(variance), back(y), back(diff_x), back(diff_residual), back(diff_weight), back(diff_bias)};
}

/// How the rows are divided between processes.
struct Parts {
  std::vector<std::int64_t> images;  ///< of each process
  std::int64_t rows_per_image;

  std::int64_t rows(std::size_t process) const { return images[process] * rows_per_image; }
  std::int64_t all_rows() const { return rows_per_image * std::accumulate(images.begin(), images.end(), INT64_C(0)); }
};

/// Batch normalisation by several processes; one by one, with what each has of its own.
template <class T>
class InParts {
 public:
  InParts(const Case& c, const Parts& parts)
      : c_(c),
        parts_(parts),
        shape_(c.shape),
        x_(widened(as<T>(c.x), c.shape.channels, stride(c))),
        before_(widened(as<T>(c.diff_x_before), c.shape.channels, stride(c))),
        added_(as<T>(c.added)),
        diff_y_(as<T>(c.diff_y)),
        y_(c.diff_y.size()),
        indices_(c.diff_y.size()),
        diff_x_(c.x.size()),
        diff_residual_(c.x.size()),
        mean_(c.weight.size()),
        variance_(c.weight.size()) {
    shape_.x_stride = stride(c);
    scratch_.assign(kernels::batch_norm_scratch(shape_), NAN);
  }

  Result computed() {
    combine_statistics();
    const auto channels = static_cast<std::size_t>(shape_.channels);
    std::vector<double> diff_weight(channels), diff_bias(channels);
    const std::vector<double> sums = forward_and_sums();
    for_each([&](std::size_t process, const BatchNormShape& shape, std::int64_t first) {
      std::vector<float> own_weight(channels), own_bias(channels);
      kernels::BatchNormBackward<T> t = tensors(first);
      t.diff_weight = own_weight.data();
      t.diff_bias = own_bias.data();
      kernels::batch_norm_gradient<T>(shape, parameters(), c_.activation, t,
                                      {.parts = sums.data(),
                                       .processes = static_cast<std::int64_t>(parts_.images.size()),
                                       .own = static_cast<std::int64_t>(process),
                                       .rows = parts_.all_rows()},
                                      scratch_.data());
      for (std::size_t i = 0; i < channels; ++i) {
        diff_weight[i] += own_weight[i];
        diff_bias[i] += own_bias[i];
      }
    });
    return {back(mean_), back(variance_), back(y_), back(diff_x_), back(diff_residual_), diff_weight, diff_bias};
  }

 private:
  static std::int64_t stride(const Case& c) { return c.shape.channels + (c.in_wider_rows ? 5 : 0); }

  kernels::BatchNormParameters parameters() const {
    return {mean_.data(), variance_.data(), c_.weight.data(), c_.bias.data(), eps};
  }

  /// Calls body(process, shape, first row) for each process that has rows.
  template <class Body>
  void for_each(const Body& body) const {
    BatchNormShape shape = shape_;
    std::int64_t first = 0;
    for (std::size_t process = 0; process < parts_.images.size(); ++process) {
      shape.rows = parts_.rows(process);
      if (shape.rows > 0) body(process, shape, first);
      first += shape.rows;
    }
  }

  /// Those of a process without rows are NaN, as are the gaps between the processes' statistics.
  void combine_statistics() {
    const std::int64_t channels = shape_.channels, part_stride = 2 * channels + 3;
    std::vector<float> gathered(parts_.images.size() * part_stride, NAN);
    for_each([&](std::size_t process, const BatchNormShape& shape, std::int64_t first) {
      float* mean = gathered.data() + process * part_stride;
      kernels::batch_norm_statistics(shape, x_.data() + first * shape.x_stride, mean, mean + channels, scratch_.data());
    });
    kernels::batch_norm_combine_statistics(channels, parts_.images, parts_.rows_per_image, gathered.data(), part_stride,
                                           mean_.data(), variance_.data());
  }

  std::vector<double> forward_and_sums() {
    std::vector<double> sums(2 * parts_.images.size() * shape_.channels);
    for_each([&](std::size_t process, const BatchNormShape& shape, std::int64_t first) {
      kernels::BatchNormBackward<T> t = tensors(first);
      t.diff_x = nullptr;
      kernels::batch_norm_forward(shape, parameters(), t.x,
                                  c_.residual ? added_.data() + first * shape.channels : nullptr, c_.activation,
                                  y_.data() + of_y(first), indices_.data() + of_y(first), scratch_.data());
      kernels::batch_norm_gradient_sums<T>(shape, parameters(), c_.activation, t,
                                           sums.data() + 2 * process * shape.channels, scratch_.data());
    });
    return sums;
  }

  kernels::BatchNormBackward<T> tensors(std::int64_t first) {
    const std::int64_t at = first * shape_.channels;
    return {.x = x_.data() + first * shape_.x_stride,
            .y = c_.residual ? y_.data() + at : nullptr,
            .diff_y = diff_y_.data() + of_y(first),
            .diff_residual = c_.residual ? diff_residual_.data() + at : nullptr,
            .diff_x_before = before_.empty() ? nullptr : before_.data() + first * shape_.x_stride,
            .diff_x_before_stride = shape_.x_stride,
            .diff_x = diff_x_.data() + at,
            .diff_weight = nullptr,
            .diff_bias = nullptr,
            .indices = indices_.data() + of_y(first)};
  }

  /// The index in y of a row of x.
  std::int64_t of_y(std::int64_t row) const {
    BatchNormShape before = c_.shape;
    before.rows = row;
    return before.y_rows() * before.channels;
  }

  const Case& c_;
  const Parts& parts_;
  BatchNormShape shape_;
  std::vector<T> x_, before_, added_, diff_y_, y_;
  std::vector<std::uint8_t> indices_;
  std::vector<T> diff_x_, diff_residual_;
  std::vector<float> mean_, variance_, scratch_;
};

/// Errors relative to the root mean square of the expected values, the largest one relative to that plus the value
/// itself; infinite where a value is not finite.
struct Error {
  double rms, largest;
};
Error error(const std::vector<double>& found, const std::vector<double>& expected) {
  double total = 1e-12;
  for (const double value : expected) total += value * value;
  const double mean = std::sqrt(total / static_cast<double>(expected.size()));
  double squares = 0;
  double largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double d = std::abs(found[i] - expected[i]);
    if (!std::isfinite(d)) return {INFINITY, INFINITY};
    squares += d * d;
    largest = std::max(largest, d / (mean + std::abs(expected[i])));
  }
  return {std::sqrt(squares / total), largest};
}

void check(const Case& c, const Result& found, double bound) {
  const Result expected = defined(c);
  const auto near = [&](const std::vector<double>& a, const std::vector<double>& b) {
    const Error e = error(a, b);
    CHECK(e.rms < bound);
    CHECK(e.largest < 10 * bound);
  };
  CHECK(error(found.mean, expected.mean).rms < 1e-6);
  CHECK(error(found.variance, expected.variance).rms < 2e-6);
  near(found.y, expected.y);
  near(found.diff_x, expected.diff_x);
  near(found.diff_weight, expected.diff_weight);
  near(found.diff_bias, expected.diff_bias);
  if (c.residual) near(found.diff_residual, expected.diff_residual);
}

template <class T>
void check(const Case& c, double bound) {
  check(c, computed<T>(c), bound);
}

}  // namespace

TEST_CASE("batch norm agrees with its definition in double: any extents, activation, residual, threads") {
  for_each_cpu_isa([&] {
    for (const int threads : {1, 2, 5}) {
      const base::ComputeScope scope(threads);
      for (const auto& [rows, channels] :
           {std::pair{9, 1}, {12, 5}, {40, 16}, {1000, 33}, {700, 300}, {20'000, 8}, {3, 20}, {20, 1100}, {4, 9000}}) {
        for (const Activation activation : {Activation::none, Activation::relu, Activation::relu6}) {
          for (const bool residual : {false, true}) {
            CAPTURE(threads);
            CAPTURE(rows);
            CAPTURE(channels);
            CAPTURE(activation);
            CAPTURE(residual);
            const Case c(rows, channels, activation, residual, threads);
            check<float>(c, 1e-5);
            // A value just below 6 rounds to 6 in bf16, and with a residual backward reads the rounded y.
            if (!residual || activation != Activation::relu6) check<std::uint16_t>(c, 6e-3);
          }
        }
      }
    }
  });
}

TEST_CASE("batch norm of the first channels of wider rows, with its gradient added to an earlier one") {
  for_each_cpu_isa([&] {
    for (const std::int64_t channels : {1, 16, 33, 64, 300}) {
      for (const bool residual : {false, true}) {
        for (const bool in_wider_rows : {false, true}) {
          CAPTURE(channels);
          CAPTURE(residual);
          CAPTURE(in_wider_rows);
          Case c(100, channels, Activation::relu, residual);
          c.in_wider_rows = in_wider_rows;
          c.diff_x_before = c.added;
          check<float>(c, 1e-5);
          check<std::uint16_t>(c, 6e-3);
        }
      }
    }
  });
}

TEST_CASE("batch norm with max pooling agrees with its definition: windows that overlap, are padded or leave a rest") {
  struct Pool {
    std::int64_t images, height, width, kernel, stride, padding;
  };
  for_each_cpu_isa([&] {
    for (const Pool& pool : {Pool{3, 8, 6, 2, 2, 0},
                             {2, 7, 9, 2, 2, 0},
                             {2, 9, 8, 3, 2, 1},
                             {1, 12, 11, 3, 3, 0},
                             {2, 6, 7, 3, 1, 1},
                             {2, 9, 9, 2, 4, 0},
                             {1, 16, 15, 15, 1, 7},
                             {5, 1, 2, 1, 1, 0}}) {
      for (const std::int64_t channels : {1, 16, 33, 300}) {
        for (const Activation activation : {Activation::none, Activation::relu, Activation::relu6}) {
          CAPTURE(pool.height);
          CAPTURE(pool.kernel);
          CAPTURE(pool.stride);
          CAPTURE(channels);
          CAPTURE(activation);
          Case c(pool.images * pool.height * pool.width, channels, activation, false, 3);
          c.pool(pool.height, pool.width, pool.kernel, pool.stride, pool.padding);
          // The sum of the windows' gradients is rounded to bf16: with the largest kernel, that of up to 225 windows.
          const double bf16_bound = pool.kernel == 15 ? 5e-2 : 6e-3;
          check<float>(c, 1e-5);
          check<std::uint16_t>(c, bf16_bound);
          c.in_wider_rows = true;
          c.diff_x_before = c.added;
          check<float>(c, 1e-5);
          check<std::uint16_t>(c, bf16_bound);
          const Parts parts{{0, 1, pool.images - 1}, pool.height * pool.width};
          check(c, InParts<float>(c, parts).computed(), 1e-5);
          check(c, InParts<std::uint16_t>(c, parts).computed(), bf16_bound);
        }
      }
    }
  });
}

TEST_CASE("batch norm with max pooling: a NaN is the maximum of its windows, and the first of equal maxima counts") {
  for_each_cpu_isa([&] {
    constexpr std::int64_t channels = 17, last = channels - 1;
    BatchNormShape shape{4, channels, 1, channels};
    shape.pool = kernels::MaxPoolShape{
        .height = 2, .width = 2, .kernel = 2, .stride = 2, .padding = 0, .out_height = 1, .out_width = 1};
    const std::vector<float> zero(channels, 0), one(channels, 1);
    const auto index_of = [&](const std::vector<float>& window, float expected) {
      std::vector<float> x(4 * channels, 0), y(channels), scratch(kernels::batch_norm_scratch(shape), NAN);
      for (std::size_t i = 0; i < 4; ++i) x[i * channels + last] = window[i];
      std::vector<std::uint8_t> indices(channels);
      kernels::batch_norm_forward<float>(shape, {zero.data(), one.data(), one.data(), zero.data(), 0}, x.data(),
                                         nullptr, Activation::relu, y.data(), indices.data(), scratch.data());
      CHECK((std::isnan(expected) ? std::isnan(y[last]) : y[last] == expected));
      CHECK(y[0] == 0);
      CHECK(indices[0] == kernels::no_gradient);
      return int{indices[last]};
    };
    CHECK(index_of({1, 2, 3, 4}, 4) == 3);
    CHECK(index_of({4, NAN, 3, 5}, NAN) == 1);
    CHECK(index_of({1, 2, 3, NAN}, NAN) == 3);
    CHECK(index_of({1, 2, 2, 2}, 2) == 1);
    CHECK(index_of({-1, -2, -3, 0}, 0) == kernels::no_gradient);
  });
}

TEST_CASE("frozen batch norm: its gradient is the output's, scaled; gradients that aren't requested aren't written") {
  const auto check = [](const auto& zero, const Case& c, double bound) {
    using T = std::decay_t<decltype(zero)>;
    const std::vector<double> forward = computed<T>(c).y;
    const std::size_t channels = c.weight.size();
    std::vector<float> scratch(kernels::batch_norm_scratch(c.shape), NAN), mean(channels, 3), variance(channels);
    for (std::size_t i = 0; i < channels; ++i) variance[i] = 0.5F + 0.25F * static_cast<float>(i % 4);
    const std::vector<T> y = as<T>({forward.begin(), forward.end()}), diff_y = as<T>(c.diff_y), before = as<T>(c.added);
    std::vector<T> diff_x(y.size()), diff_residual(y.size());
    std::vector<double> expected_x(y.size()), expected_residual(y.size());
    for (std::size_t i = 0; i < y.size(); ++i) {
      expected_residual[i] = c.activation != Activation::none &&
                                     (forward[i] <= 0 || (c.activation == Activation::relu6 && forward[i] >= 6))
                                 ? 0
                                 : c.diff_y[i];
      expected_x[i] =
          expected_residual[i] * c.weight[i % channels] / std::sqrt(variance[i % channels] + double{eps}) + c.added[i];
    }
    for (const bool wants_x : {false, true}) {
      for (const bool wants_residual : {false, true}) {
        std::fill(diff_x.begin(), diff_x.end(), T{0});
        std::fill(diff_residual.begin(), diff_residual.end(), T{0});
        kernels::batch_norm_backward_frozen<T>(
            c.shape, {mean.data(), variance.data(), c.weight.data(), c.bias.data(), eps}, c.activation,
            {.x = nullptr,
             .y = c.activation != Activation::none ? y.data() : nullptr,
             .diff_y = diff_y.data(),
             .diff_residual = wants_residual ? diff_residual.data() : nullptr,
             .diff_x_before = before.data(),
             .diff_x_before_stride = c.shape.channels,
             .diff_x = wants_x ? diff_x.data() : nullptr,
             .diff_weight = nullptr,
             .diff_bias = nullptr},
            scratch.data());
        const std::vector<double> none(y.size());
        CHECK(error(back(diff_x), wants_x ? expected_x : none).rms < bound);
        CHECK(error(back(diff_residual), wants_residual ? expected_residual : none).rms < bound);
      }
    }
  };
  for_each_cpu_isa([&] {
    for (const auto& [rows, channels] : {std::pair{9, 1}, {12, 5}, {40, 16}, {1000, 33}}) {
      for (const Activation activation : {Activation::none, Activation::relu, Activation::relu6}) {
        const Case c(rows, channels, activation, true);
        check(float{}, c, 1e-6);
        check(std::uint16_t{}, c, 6e-3);
      }
    }
  });
}

TEST_CASE("batch norm of rows that processes share agrees with its definition, also where one has none") {
  for_each_cpu_isa([&] {
    for (const Parts& parts : {Parts{{40}, 1},
                               {{22, 21}, 4},
                               {{1, 30, 9}, 4},
                               {{0, 7, 5}, 3},
                               {{9, 0, 4}, 1},
                               {{100, 1, 99, 0}, 9},
                               {{3, 3, 2, 2}, 1}}) {
      for (const std::int64_t channels : {1, 33, 300}) {
        for (const Activation activation : {Activation::none, Activation::relu}) {
          for (const bool residual : {false, true}) {
            CAPTURE(parts.images);
            CAPTURE(channels);
            CAPTURE(activation);
            CAPTURE(residual);
            Case c(parts.all_rows(), channels, activation, residual);
            c.in_wider_rows = residual;
            if (residual) c.diff_x_before = c.added;
            check(c, InParts<float>(c, parts).computed(), 1e-5);
            check(c, InParts<std::uint16_t>(c, parts).computed(), 6e-3);
          }
        }
      }
    }
  });
}

TEST_CASE("batch norm: in f32 its results are the same for any division of the rows to 1e-6") {
  for_each_cpu_isa([&] {
    const Case c(360, 33, Activation::none, false);
    const Result whole = computed<float>(c);
    for (const Parts& parts : {Parts{{23, 22}, 8}, {{15, 15, 15}, 8}, {{12, 11, 11, 11}, 8}, {{0, 40, 0, 5}, 8}}) {
      const Result found = InParts<float>(c, parts).computed();
      CHECK(error(found.mean, whole.mean).rms < 1e-6);
      CHECK(error(found.variance, whole.variance).rms < 1e-6);
      CHECK(error(found.diff_x, whole.diff_x).rms < 1e-6);
      CHECK(error(found.diff_weight, whole.diff_weight).rms < 1e-6);
      CHECK(error(found.diff_bias, whole.diff_bias).rms < 1e-6);
    }
  });
}

TEST_CASE("batch norm: backward in two parts gives the bits of backward where one process has all rows") {
  const auto check_bits = [](const auto& zero, const Case& c, const Parts& parts) {
    using T = std::decay_t<decltype(zero)>;
    const Result expected = computed<T>(c);
    const Result found = InParts<T>(c, parts).computed();
    CHECK(found.mean == expected.mean);
    CHECK(found.variance == expected.variance);
    CHECK(found.y == expected.y);
    CHECK(found.diff_x == expected.diff_x);
    CHECK(found.diff_residual == expected.diff_residual);
    CHECK(found.diff_weight == expected.diff_weight);
    CHECK(found.diff_bias == expected.diff_bias);
  };
  for_each_cpu_isa([&] {
    for (const Parts& parts : {Parts{{1000}, 1}, {{0, 250}, 4}}) {
      for (const std::int64_t channels : {5, 33, 300}) {
        for (const Activation activation : {Activation::none, Activation::relu, Activation::relu6}) {
          for (const bool residual : {false, true}) {
            Case c(1000, channels, activation, residual, 3);
            c.diff_x_before = c.added;
            check_bits(float{}, c, parts);
            check_bits(std::uint16_t{}, c, parts);
          }
        }
      }
    }
  });
}

TEST_CASE("batch norm: a mean far from zero costs the variance no precision") {
  for_each_cpu_isa([&] {
    Case c(5000, 20, Activation::none, false);
    for (float& value : c.x) value += 1000;
    const Result expected = defined(c);
    CHECK(error(computed<float>(c).variance, expected.variance).rms < 1e-5);
  });
}

TEST_CASE("batch norm: a channel of equal values has a variance of 0 and finite gradients") {
  for_each_cpu_isa([&] {
    Case c(40, 17, Activation::none, false);
    for (std::size_t i = 3; i < c.x.size(); i += 17) c.x[i] = 2;
    const Result found = computed<float>(c);
    CHECK(found.variance[3] == 0);
    CHECK(found.y[3] == c.bias[3]);
    CHECK(std::isfinite(found.diff_x[3]));
    CHECK(found.diff_weight[3] == 0);
  });
}

TEST_CASE("batch norm propagates NaN through an activation, in forward and in backward") {
  for_each_cpu_isa([&] {
    for (const auto& [channel, activation] : {std::pair{0U, Activation::relu},
                                              {16U, Activation::relu},
                                              {0U, Activation::relu6},
                                              {16U, Activation::relu6}}) {
      Case c(4, 17, activation, false);
      c.x[17 + channel] = NAN;
      CHECK(std::isnan(computed<float>(c).y[channel]));
      CHECK(std::isnan(computed<std::uint16_t>(c).y[17 + channel]));
      CHECK(std::isnan(computed<float>(c).diff_x[channel]));
    }
  });
}

TEST_CASE("batch norm gives the same bits for any number of threads") {
  for_each_cpu_isa([&] {
    const Case c(1000, 33, Activation::relu, true, 3);
    const Result before = computed<float>(c);
    for (const int threads : {1, 2, 5}) {
      const base::ComputeScope scope(threads);
      const Result found = computed<float>(c);
      CHECK(found.mean == before.mean);
      CHECK(found.variance == before.variance);
      CHECK(found.diff_x == before.diff_x);
      CHECK(found.diff_weight == before.diff_weight);
    }
  });
}
