#pragma once

#include <cstdio>
#include <cstdlib>
// jpeglib.h uses std::size_t and FILE but includes neither header.
#include <jpeglib.h>

#include "data/make_jpeg.h"

namespace facet {

/// Compresses with libjpeg's API, which has options that TurboJPEG lacks.
template <class Change>
Bytes compress_with(const Image& image, const Change& change) {
  jpeg_error_mgr errors;
  jpeg_compress_struct encoder;
  encoder.err = jpeg_std_error(&errors);
  jpeg_create_compress(&encoder);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&encoder, &bytes, &size);
  encoder.image_width = static_cast<JDIMENSION>(image.width);
  encoder.image_height = static_cast<JDIMENSION>(image.height);
  encoder.input_components = 3;
  encoder.in_color_space = JCS_RGB;
  jpeg_set_defaults(&encoder);
  change(encoder);
  jpeg_start_compress(&encoder, TRUE);
  while (encoder.next_scanline < encoder.image_height) {
    const std::size_t at = std::size_t{encoder.next_scanline} * encoder.image_width * 3;
    auto* row = const_cast<JSAMPROW>(&image.pixels[at]);
    jpeg_write_scanlines(&encoder, &row, 1);
  }
  jpeg_finish_compress(&encoder);
  jpeg_destroy_compress(&encoder);
  Bytes jpeg(bytes, bytes + size);
  std::free(bytes);
  return jpeg;
}

}  // namespace facet
