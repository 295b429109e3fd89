#include "bare_decode.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <csetjmp>
#include <cstdio>
#include <string>
// jpeglib.h uses std::size_t and FILE but includes neither header.
#include <jpeglib.h>

#include "data/decode/decode.h"
#include "data/worker_threads.h"
#include "facet/error.h"
#include "workload.h"

namespace facet::bench {
namespace {

struct Failure {
  std::jmp_buf escape;
  std::array<char, JMSG_LENGTH_MAX> text;
};

void fail(j_common_ptr decoder) {
  Failure& failure = *static_cast<Failure*>(decoder->client_data);
  decoder->err->format_message(decoder, failure.text.data());
  std::longjmp(failure.escape, 1);
}

bool is_jpeg(std::span<const std::uint8_t> bytes) {
  return bytes.size() >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF;
}

}  // namespace

void decode_plainly(std::span<const std::uint8_t> jpeg, std::vector<std::uint8_t>& pixels) {
  jpeg_error_mgr errors;
  Failure failure;
  jpeg_decompress_struct decoder;
  decoder.err = jpeg_std_error(&errors);
  decoder.client_data = &failure;
  errors.error_exit = fail;
  errors.emit_message = [](j_common_ptr, int) {};
  jpeg_create_decompress(&decoder);
  if (setjmp(failure.escape) != 0) {
    jpeg_destroy_decompress(&decoder);
    throw Error(failure.text.data(), ErrorCode::invalid_data);
  }
  jpeg_mem_src(&decoder, jpeg.data(), static_cast<unsigned long>(jpeg.size()));
  jpeg_read_header(&decoder, TRUE);
  decoder.out_color_space = decoder.num_components == 4 ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(&decoder);
  const std::size_t row_bytes = std::size_t{decoder.output_width} * static_cast<std::size_t>(decoder.output_components);
  pixels.resize(row_bytes * decoder.output_height);
  while (decoder.output_scanline < decoder.output_height) {
    std::array<JSAMPROW, 16> rows;  // as many at once as libjpeg has ready
    const JDIMENSION count = std::min<JDIMENSION>(rows.size(), decoder.output_height - decoder.output_scanline);
    for (JDIMENSION i = 0; i < count; ++i) rows[i] = &pixels[row_bytes * (decoder.output_scanline + i)];
    jpeg_read_scanlines(&decoder, rows.data(), count);
  }
  jpeg_finish_decompress(&decoder);
  jpeg_destroy_decompress(&decoder);
}

std::optional<double> time_bare_decode(const SourceDataset& dataset, std::span<const std::int64_t> images,
                                       int threads) {
  std::atomic<double> seconds = 0;
  std::atomic<bool> all_jpegs = true;
  data::for_each_index(std::ssize(images), threads, [&](std::int64_t i) {
    const std::int64_t image = images[static_cast<std::size_t>(i)];
    thread_local std::vector<std::uint8_t> pixels;  // kept, so that the system doesn't have to provide pages for each
    try {
      const std::vector<std::uint8_t> bytes = data::read_image_file(dataset.path(image));
      if (is_jpeg(bytes)) {
        seconds += seconds_of([&] { decode_plainly(bytes, pixels); });
      } else {
        all_jpegs = false;
      }
    } catch (const Error& error) {
      throw error.with_prefix(dataset.name(image) + ": ");
    }
  });
  return all_jpegs ? std::optional(seconds.load()) : std::nullopt;
}

}  // namespace facet::bench
