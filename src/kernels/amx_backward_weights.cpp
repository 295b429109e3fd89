#include "kernels/amx_backward_weights.h"

#include <hwy/detect_targets.h>

#include <algorithm>
#include <functional>

#include "base/parallel.h"
#include "kernels/targets.h"

#if HWY_ARCH_X86_64 && defined(__linux__)

#if !defined(__clang__)
// GCC 12 warns of the undefined vectors in its own intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

// A function that uses intrinsics must name their instruction sets. Lambdas don't inherit this attribute, so none use
// them.
#define FACET_AMX __attribute__((target("avx512f,avx512bw,avx512vl,amx-tile,amx-bf16")))

namespace facet::kernels {

namespace {

constexpr std::int64_t side = 16;                  // a tile of sums has 16 output channels by 16 input channels
constexpr std::int64_t step = 32;                  // pixels over which one product of tiles sums
constexpr std::int64_t tile_values = side * step;  // bf16 values; 1 KiB, as every tile
constexpr std::int64_t pair_values = 2 * side;     // values of two pixels and 16 channels
constexpr std::int64_t tile_sums = side * side;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t round_up(std::int64_t a, std::int64_t b) { return divide_up(a, b) * b; }

/// How the work is divided. A segment is a range of rows of an image, stored as one line of pixels. Each row is as wide
/// as the padded input's, so that a tap is a shift along the line.
struct Plan {
  std::int64_t out_blocks, in_blocks;  // blocks of 16 channels
  std::int64_t taps;
  std::int64_t width;                      // pixels per row of the line; even, so that a tap has its column's parity
  std::int64_t rows, steps;                // per segment
  std::int64_t pairs;                      // pairs of pixels that the taps of a segment read
  std::int64_t segments;                   // per image
  std::int64_t images_together;            // images whose segments stay in the second-level cache together
  std::int64_t chunk_images, chunk_steps;  // summed in tiles before the sums are stored
  std::int64_t tasks;                      // one for each segment of each group of such images
  std::int64_t parts;                      // parts of the tasks, each with sums of its own
  std::int64_t groups;                     // groups of the output's blocks

  std::int64_t sums() const { return out_blocks * in_blocks * taps * tile_sums; }

  // Sizes of a thread's panels, in bf16 values.
  std::int64_t out_panel() const { return out_blocks * steps * tile_values; }    // for one image
  std::int64_t in_panel() const { return 2 * in_blocks * pairs * pair_values; }  // for one image: both parities
  std::int64_t zeros() const { return std::max(out_blocks, in_blocks) * side; }
  std::int64_t panels() const { return round_up(images_together * (out_panel() + in_panel()) + zeros(), step); }
};

Plan plan(const AmxConvolutionShape& s) {
  Plan p{};
  p.out_blocks = divide_up(s.out_channels, side);
  p.in_blocks = divide_up(s.in_channels, side);
  p.taps = s.kernel * s.kernel;
  p.width = round_up(s.out_width + s.kernel - 1, 2);
  constexpr std::int64_t cache = 1 << 18;  // in bf16 values; the input is stored twice
  const std::int64_t pixels = cache / (side * (p.out_blocks + 2 * p.in_blocks));
  p.rows = std::clamp<std::int64_t>(pixels / p.width - (s.kernel - 1), 1, s.out_height);
  p.segments = divide_up(s.out_height, p.rows);
  p.rows = divide_up(s.out_height, p.segments);
  p.steps = divide_up(p.rows * p.width, step);
  p.pairs = divide_up(p.steps * step + (s.kernel - 1) * (p.width + 1), 2) + 1;
  p.images_together = std::clamp<std::int64_t>(pixels / (2 * p.pairs), 1, s.images);
  p.tasks = divide_up(s.images, p.images_together) * p.segments;
  constexpr std::int64_t max_steps = 10;  // so that a pair of the output's blocks stays in the first-level cache
  p.chunk_steps = divide_up(p.steps, divide_up(p.steps, max_steps));
  p.chunk_images = std::clamp<std::int64_t>(max_steps / p.steps, 1, p.images_together);
  constexpr std::int64_t sums_limit = 1 << 26;  // floats
  p.parts = std::min({s.threads, std::max<std::int64_t>(1, sums_limit / p.sums()), p.tasks});
  p.groups = std::clamp<std::int64_t>(s.threads / p.parts, 1, divide_up(p.out_blocks, 2));
  return p;
}

struct alignas(64) TileConfiguration {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

/// An image in channels-last bf16.
struct Image {
  const std::uint16_t* pixels;
  std::int64_t height, width, channels;
};

/// Iterates over the pixels of a line: rows [first, first + count) of an image, each `width` pixels wide, of which the
/// first `before` lie left of the image. Pixels outside the image or the rows are zeros.
class Line {
 public:
  Line(const Image& image, std::int64_t first, std::int64_t count, std::int64_t before, std::int64_t width,
       const std::uint16_t* zeros)
      : image_(image), y_(first), end_(first + count), before_(before), width_(width), zeros_(zeros), x_(-before) {}

  const std::uint16_t* next() {
    const bool inside = y_ >= 0 && y_ < std::min(end_, image_.height) && x_ >= 0 && x_ < image_.width;
    const std::uint16_t* at = inside ? image_.pixels + (y_ * image_.width + x_) * image_.channels : zeros_;
    if (++x_ == width_ - before_) {
      x_ = -before_;
      ++y_;
    }
    return at;
  }

 private:
  Image image_;
  std::int64_t y_, end_, before_, width_;
  const std::uint16_t* zeros_;
  std::int64_t x_;
};

/// The mask of the lanes that hold channels of a block: the last block may have fewer than 16.
__mmask16 lanes_of(std::int64_t channels, std::int64_t block) {
  return static_cast<__mmask16>((1U << std::min(channels - block * side, side)) - 1);
}

/// 16 channels of two pixels: each 32-bit lane holds the first pixel's value in its lower half, the second's in its
/// upper half.
FACET_AMX inline __m512i pair(const std::uint16_t* first, const std::uint16_t* second, __mmask16 lanes) {
  const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, first));
  const __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, second));
  return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

/// Transposes 16 x 16 words of 32 bits.
FACET_AMX inline void transpose(__m512i (&v)[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    v[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    v[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    v[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

/// Writes tiles [block][step] of 16 output channels by 32 pixels: a row of a tile holds one channel's pixels.
FACET_AMX void turn_outputs(const Plan& p, std::int64_t channels, Line line, std::uint16_t* to) {
  for (std::int64_t k = 0; k < p.steps; ++k) {
    const std::uint16_t* pixels[step];
    for (const std::uint16_t*& pixel : pixels) pixel = line.next();
    for (std::int64_t block = 0; block < p.out_blocks; ++block) {
      const __mmask16 lanes = lanes_of(channels, block);
      __m512i v[16];
      for (int i = 0; i < 16; ++i) v[i] = pair(pixels[2 * i] + block * side, pixels[2 * i + 1] + block * side, lanes);
      transpose(v);
      std::uint16_t* tile = to + (block * p.steps + k) * tile_values;
      for (int i = 0; i < 16; ++i) _mm512_store_si512(tile + i * step, v[i]);
    }
  }
}

/// Writes [parity][block][pair] of 16 input channels: pairs that start at even pixels, then pairs that start at odd
/// pixels.
FACET_AMX void pair_inputs(const Plan& p, std::int64_t channels, Line line, std::uint16_t* to) {
  const std::int64_t parity = p.in_blocks * p.pairs * pair_values;
  const std::uint16_t* pixel = line.next();
  for (std::int64_t j = 0; j < p.pairs; ++j) {
    const std::uint16_t* second = line.next();
    const std::uint16_t* third = line.next();
    for (std::int64_t block = 0; block < p.in_blocks; ++block) {
      const __mmask16 lanes = lanes_of(channels, block);
      const std::int64_t c = block * side;
      std::uint16_t* even = to + (block * p.pairs + j) * pair_values;
      _mm512_store_si512(even, pair(pixel + c, second + c, lanes));
      _mm512_store_si512(even + parity, pair(second + c, third + c, lanes));
    }
    pixel = third;
  }
}

/// Prefetches what the next task reads into the second-level cache, interleaved with the products.
struct Ahead {
  const char* at[2];
  const char* end[2];
  std::int64_t lines;  ///< cache lines to prefetch of each range at every step

  FACET_AMX void fetch() {
    for (int i = 0; i < 2; ++i) {
      for (std::int64_t n = 0; n < lines && at[i] < end[i]; ++n, at[i] += 64) _mm_prefetch(at[i], _MM_HINT_T1);
    }
  }
};

/// The operands of a chunk's products.
struct Operands {
  const std::uint16_t *out, *in;
  std::int64_t out_image, out_block, in_image, in_block;  ///< strides between images and between blocks
  std::int64_t images, steps;
};

/// Computes the products of the output's block i and the input's block j, for Outs x Ins blocks. Writes them to
/// sums[i][j] if `first`, and adds them to it otherwise.
template <int Outs, int Ins>
FACET_AMX void multiply(const Operands& operands, bool first, float* const (&sums)[2][2], Ahead& ahead) {
  constexpr int row = 64;  // bytes
  // Tiles 0 to 3 hold sums, 4 and 5 the output's values, 6 and 7 the input's.
  if (first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, sums[0][0], row);
    if (Ins > 1) _tile_loadd(1, sums[0][1], row);
    if (Outs > 1) _tile_loadd(2, sums[1][0], row);
    if (Outs > 1 && Ins > 1) _tile_loadd(3, sums[1][1], row);
  }
  for (std::int64_t image = 0; image < operands.images; ++image) {
    const std::uint16_t* a = operands.out + image * operands.out_image;
    const std::uint16_t* b = operands.in + image * operands.in_image;
    for (std::int64_t k = 0; k < operands.steps; ++k, a += tile_values, b += tile_values) {
      _tile_loadd(4, a, row);
      _tile_loadd(6, b, row);
      _tile_dpbf16ps(0, 4, 6);
      if (Ins > 1) {
        _tile_loadd(7, b + operands.in_block, row);
        _tile_dpbf16ps(1, 4, 7);
      }
      if (Outs > 1) {
        _tile_loadd(5, a + operands.out_block, row);
        _tile_dpbf16ps(2, 5, 6);
      }
      if (Outs > 1 && Ins > 1) _tile_dpbf16ps(3, 5, 7);
      ahead.fetch();
    }
  }
  _tile_stored(0, sums[0][0], row);
  if (Ins > 1) _tile_stored(1, sums[0][1], row);
  if (Outs > 1) _tile_stored(2, sums[1][0], row);
  if (Outs > 1 && Ins > 1) _tile_stored(3, sums[1][1], row);
}

/// A thread's share of the work: the sums over one part of the tasks for one group of the output's blocks.
class Share {
 public:
  Share(const AmxConvolutionShape& shape, const Plan& plan, const std::uint16_t* src, const std::uint16_t* diff_dst,
        std::int64_t part, std::int64_t group, std::uint16_t* panels, float* sums)
      : s_(shape), p_(plan), src_(src), diff_dst_(diff_dst), sums_(sums) {
    out_ = panels;
    in_ = out_ + p_.images_together * p_.out_panel();
    zeros_ = in_ + p_.images_together * p_.in_panel();
    std::fill_n(zeros_, p_.zeros(), std::uint16_t{0});
    const std::int64_t pairs = divide_up(p_.out_blocks, 2);
    first_block_ = group * pairs / p_.groups * 2;
    end_block_ = std::min((group + 1) * pairs / p_.groups * 2, p_.out_blocks);
    first_task_ = part * p_.tasks / p_.parts;
    end_task_ = (part + 1) * p_.tasks / p_.parts;
  }

  FACET_AMX void run() {
    static constexpr TileConfiguration configuration;
    _tile_loadconfig(&configuration);
    for (std::int64_t task = first_task_; task < end_task_; ++task) {
      const std::int64_t images = images_of(task);
      for (std::int64_t i = 0; i < images; ++i) {
        const std::int64_t rows = std::min(p_.rows, s_.out_height - top_of(task));
        turn_outputs(p_, s_.out_channels,
                     Line(output(first_image_of(task) + i), top_of(task), rows, 0, p_.width, zeros_),
                     out_ + i * p_.out_panel());
        pair_inputs(p_, s_.in_channels,
                    Line(input(first_image_of(task) + i), top_of(task) - s_.padding, rows + s_.kernel - 1, s_.padding,
                         p_.width, zeros_),
                    in_ + i * p_.in_panel());
      }
      Ahead ahead = ahead_of(task + 1);
      for (std::int64_t image = 0; image < images; image += p_.chunk_images) {
        for (std::int64_t k = 0; k < p_.steps; k += p_.chunk_steps) {
          sum_chunk(image, std::min(p_.chunk_images, images - image), k, std::min(p_.chunk_steps, p_.steps - k),
                    task == first_task_ && image == 0 && k == 0, ahead);
        }
      }
    }
    _tile_release();
  }

 private:
  std::int64_t first_image_of(std::int64_t task) const { return task / p_.segments * p_.images_together; }
  std::int64_t images_of(std::int64_t task) const {
    return std::min(p_.images_together, s_.images - first_image_of(task));
  }
  std::int64_t top_of(std::int64_t task) const { return task % p_.segments * p_.rows; }

  Image output(std::int64_t image) const {
    return {diff_dst_ + image * s_.out_height * s_.out_width * s_.out_channels, s_.out_height, s_.out_width,
            s_.out_channels};
  }
  Image input(std::int64_t image) const {
    return {src_ + image * s_.in_height * s_.in_width * s_.in_channels, s_.in_height, s_.in_width, s_.in_channels};
  }

  /// Sets the range of the rows [top, top + rows) that lie inside the image.
  static void set_range(const Image& image, std::int64_t top, std::int64_t rows, const char** at, const char** end) {
    const std::int64_t row = image.width * image.channels;
    *at = reinterpret_cast<const char*>(image.pixels + std::clamp<std::int64_t>(top, 0, image.height) * row);
    *end = reinterpret_cast<const char*>(image.pixels + std::clamp<std::int64_t>(top + rows, 0, image.height) * row);
  }

  Ahead ahead_of(std::int64_t task) const {
    Ahead ahead{};
    if (task >= end_task_) return ahead;
    const std::int64_t more = (images_of(task) - 1);
    set_range(output(first_image_of(task)), top_of(task), p_.rows, &ahead.at[0], &ahead.end[0]);
    set_range(input(first_image_of(task)), top_of(task) - s_.padding, p_.rows + s_.kernel - 1, &ahead.at[1],
              &ahead.end[1]);
    ahead.end[0] += more * s_.out_height * s_.out_width * s_.out_channels * 2;
    ahead.end[1] += more * s_.in_height * s_.in_width * s_.in_channels * 2;
    const std::int64_t lines = std::max(ahead.end[0] - ahead.at[0], ahead.end[1] - ahead.at[1]) / 64 + 1;
    const std::int64_t steps =
        p_.images_together * p_.steps * p_.taps * divide_up(end_block_ - first_block_, 2) * divide_up(p_.in_blocks, 2);
    ahead.lines = divide_up(lines, steps);
    return ahead;
  }

  FACET_AMX void sum_chunk(std::int64_t image, std::int64_t images, std::int64_t k, std::int64_t steps, bool first,
                           Ahead& ahead) {
    for (std::int64_t o = first_block_; o < end_block_; o += 2) {
      for (std::int64_t c = 0; c < p_.in_blocks; c += 2) {
        const bool two_outs = o + 1 < end_block_;
        const bool two_ins = c + 1 < p_.in_blocks;
        const auto run =
            two_outs ? (two_ins ? multiply<2, 2> : multiply<2, 1>) : (two_ins ? multiply<1, 2> : multiply<1, 1>);
        for (std::int64_t tap = 0; tap < p_.taps; ++tap) {
          const std::int64_t shift = tap / s_.kernel * p_.width + tap % s_.kernel;
          const std::int64_t pairs = c * p_.pairs + shift / 2 + k * (step / 2);
          const Operands operands{out_ + image * p_.out_panel() + (o * p_.steps + k) * tile_values,
                                  in_ + image * p_.in_panel() + shift % 2 * (p_.in_panel() / 2) + pairs * pair_values,
                                  p_.out_panel(),
                                  p_.steps * tile_values,
                                  p_.in_panel(),
                                  p_.pairs * pair_values,
                                  images,
                                  steps};
          float* corner = sums_ + ((o * p_.in_blocks + c) * p_.taps + tap) * tile_sums;
          float* below = corner + p_.in_blocks * p_.taps * tile_sums;
          float* const tiles[2][2] = {{corner, corner + p_.taps * tile_sums}, {below, below + p_.taps * tile_sums}};
          run(operands, first, tiles, ahead);
        }
      }
    }
  }

  const AmxConvolutionShape& s_;
  const Plan& p_;
  const std::uint16_t* src_;
  const std::uint16_t* diff_dst_;
  float* sums_;  // tiles [out block][in block][tap]
  std::uint16_t *out_, *in_, *zeros_;
  std::int64_t first_block_, end_block_, first_task_, end_task_;
};

/// Whether the CPU has AMX and its bf16 products. Only newer compilers' __builtin_cpu_supports knows these names.
bool cpu_has_tiles() {
  unsigned int a = 0;
  unsigned int b = 0;
  unsigned int c = 0;
  unsigned int d = 0;
  constexpr unsigned int bf16 = 1U << 22;
  constexpr unsigned int tiles = 1U << 24;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & bf16) != 0 && (d & tiles) != 0;
}

/// Requests permission to use tiles: Linux saves their state only for processes that have requested it.
bool system_allows_tiles() {
  constexpr int request_permission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int tile_data = 18;
  return ::syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

}  // namespace

bool has_amx_bf16() {
  static const bool found = cpu_has_tiles() && __builtin_cpu_supports("avx512bw") != 0 &&
                            __builtin_cpu_supports("avx512vl") != 0 && system_allows_tiles();
  return found && amx_allowed();
}

std::int64_t amx_backward_weights_scratch(const AmxConvolutionShape& shape) {
  const Plan p = plan(shape);
  return p.parts * (p.groups * p.panels() / 2 + p.sums()) + 16;
}

void amx_backward_weights(const AmxConvolutionShape& shape, const std::uint16_t* src, const std::uint16_t* diff_dst,
                          float* diff_weights, float* scratch) {
  const Plan p = plan(shape);
  // Aligned to a cache line, since tiles are stored in whole cache lines.
  scratch += (64 - reinterpret_cast<std::uintptr_t>(scratch) % 64) % 64 / sizeof(float);
  float* all_sums = scratch;
  auto* panels = reinterpret_cast<std::uint16_t*>(scratch + p.parts * p.sums());
  const auto sum = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      Share(shape, p, src, diff_dst, task / p.groups, task % p.groups, panels + task * p.panels(),
            all_sums + task / p.groups * p.sums())
          .run();
    }
  };
  base::parallel_for(p.parts * p.groups, 1, std::ref(sum));
  const auto write = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t out = begin; out < end; ++out) {
      for (std::int64_t in = 0; in < shape.in_channels; ++in) {
        const std::int64_t tile = (out / side * p.in_blocks + in / side) * p.taps;
        const float* from = all_sums + tile * tile_sums + out % side * side + in % side;
        float* to = diff_weights + (out * shape.in_channels + in) * p.taps;
        for (std::int64_t tap = 0; tap < p.taps; ++tap) {
          float total = from[tap * tile_sums];
          for (std::int64_t part = 1; part < p.parts; ++part) total += from[part * p.sums() + tap * tile_sums];
          to[tap] = total;
        }
      }
    }
  };
  base::parallel_for(shape.out_channels, 1, std::ref(write));
}

}  // namespace facet::kernels

#else

namespace facet::kernels {

bool has_amx_bf16() { return false; }
std::int64_t amx_backward_weights_scratch(const AmxConvolutionShape&) { return 0; }
void amx_backward_weights(const AmxConvolutionShape&, const std::uint16_t*, const std::uint16_t*, float*, float*) {}

}  // namespace facet::kernels

#endif
