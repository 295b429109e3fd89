#include <fmt/format.h>
#include <webp/decode.h>
#include <webp/demux.h>

#include <algorithm>
#include <memory>
#include <new>

#include "data/decode/decode.h"
#include "facet/error.h"

namespace facet::data {
namespace {

struct DemuxerDeleter {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};
using Demuxer = std::unique_ptr<WebPDemuxer, DemuxerDeleter>;

Demuxer open(const WebPData& data) {
  WebPDemuxState state = WEBP_DEMUX_PARSE_ERROR;
  Demuxer demuxer(WebPDemuxPartial(&data, &state));
  if (state == WEBP_DEMUX_PARSE_ERROR) throw Error("corrupt WebP: its chunks are invalid", ErrorCode::invalid_data);
  if (state != WEBP_DEMUX_DONE) throw Error("truncated WebP: it ends too early", ErrorCode::invalid_data);
  if (!demuxer) throw std::bad_alloc();
  return demuxer;
}

void require(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_OK:
      return;
    case VP8_STATUS_OUT_OF_MEMORY:
      throw std::bad_alloc();
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
      throw Error("truncated WebP: its pixels end too early", ErrorCode::invalid_data);
    default:
      throw Error("corrupt WebP: its pixels can't be decoded", ErrorCode::invalid_data);
  }
}

int orientation_of(const WebPDemuxer* demuxer) {
  int orientation = 1;
  WebPChunkIterator chunk{};
  if (WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk) != 0) {
    orientation = exif_orientation({chunk.chunk.bytes, chunk.chunk.size});
  }
  WebPDemuxReleaseChunkIterator(&chunk);
  return orientation;
}

/// Reads a frame's header. @throws Error unless the frame lies within the image.
WebPDecoderConfig configure(const WebPIterator& frame, std::int64_t width, std::int64_t height) {
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) {
    throw Error("can't be read: facet was built with another version of libwebp", ErrorCode::unsupported);
  }
  require(WebPGetFeatures(frame.fragment.bytes, frame.fragment.size, &config.input));
  if (frame.x_offset < 0 || frame.y_offset < 0 || config.input.width < 1 || config.input.height < 1 ||
      config.input.width > width - frame.x_offset || config.input.height > height - frame.y_offset) {
    throw Error(fmt::format("corrupt WebP: a frame of {}x{} pixels at ({}, {}) exceeds the image of {}x{} pixels",
                            config.input.width, config.input.height, frame.x_offset, frame.y_offset, width, height),
                ErrorCode::invalid_data);
  }
  return config;
}

/// Returns the peak memory use in bytes, reached while the frame is decoded (lossless pixels take four bytes each) or
/// while the image is turned upright.
std::int64_t memory_needed(const WebPBitstreamFeatures& frame, std::int64_t width, std::int64_t height) {
  const std::int64_t pixels = width * height * 3;
  return pixels + std::max(std::int64_t{frame.width} * frame.height * 4, pixels);
}

}  // namespace

std::string webp_library() {
  const int version = WebPGetDecoderVersion();  // 0xMMmmrr
  return fmt::format("libwebp {}.{}.{}", version >> 16, (version >> 8) & 0xFF, version & 0xFF);
}

DecodedImage decode_webp(std::span<const std::uint8_t> bytes, Scratch& scratch) {
  const WebPData data{.bytes = bytes.data(), .size = bytes.size()};
  const Demuxer demuxer = open(data);
  const std::int64_t width = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH);
  const std::int64_t height = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT);
  WebPIterator frame{};
  const std::unique_ptr<WebPIterator, void (*)(WebPIterator*)> owner(&frame, WebPDemuxReleaseIterator);
  if (WebPDemuxGetFrame(demuxer.get(), 1, &frame) == 0)
    throw Error("corrupt WebP: it holds no image", ErrorCode::invalid_data);
  WebPDecoderConfig config = configure(frame, width, height);
  const DecodingLock lock = require_decoding_memory(width, height, memory_needed(config.input, width, height));

  Image image{.width = static_cast<int>(width),
              .height = static_cast<int>(height),
              .pixels = scratch.take(static_cast<std::size_t>(width * height * 3))};
  if (config.input.width < width || config.input.height < height) {
    std::fill(image.pixels.begin(), image.pixels.end(), std::uint8_t{0});  // black where the first frame is smaller
  }
  const auto stride = static_cast<std::size_t>(image.width) * 3;
  const auto offset = static_cast<std::size_t>(frame.y_offset) * stride + static_cast<std::size_t>(frame.x_offset) * 3;
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA = {
      .rgba = image.pixels.data() + offset, .stride = static_cast<int>(stride), .size = image.pixels.size() - offset};
  require(WebPDecode(frame.fragment.bytes, frame.fragment.size, &config));
  image = upright(std::move(image), orientation_of(demuxer.get()), scratch);
  const ImageSize whole(image.height, image.width);
  return {.image = std::move(image), .placement = {.whole = whole}};
}

}  // namespace facet::data
