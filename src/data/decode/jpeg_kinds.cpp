#include "data/decode/jpeg_kinds.h"

#include <fmt/format.h>

#include <string_view>

#include "facet/error.h"

namespace facet::data {

void require_supported(int marker) {
  const auto refuse = [marker](std::string_view kind) {
    throw Error(
        fmt::format("is {} (marker 0x{:02X}); baseline, extended and progressive JPEGs are allowed", kind, marker),
        ErrorCode::invalid_data);
  };
  switch (marker) {
    case 0xC3:
    case 0xCB:
      return refuse("a lossless JPEG");
    case 0xC7:
    case 0xCF:
      return refuse("a lossless, hierarchical JPEG");
    case 0xC5:
    case 0xC6:
    case 0xCD:
    case 0xCE:
    case 0xDE:
      return refuse("a hierarchical JPEG");
    case 0xF7:
      return refuse("a JPEG-LS");
    default:
      return;
  }
}

void refuse_precision(int bits) {
  throw Error(fmt::format("is a JPEG of {} bits per sample; {} are allowed", bits, sample_bits),
              ErrorCode::invalid_data);
}

}  // namespace facet::data
