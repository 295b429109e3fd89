#include "formats/event_file.h"

#include <formats/event.pb.h>

#include <bit>
#include <span>

#include "base/files.h"

namespace facet::tensorboard {
namespace {

template <class Number>
void append(std::string& bytes, Number number) {
  for (std::size_t byte = 0; byte < sizeof(Number); ++byte) {
    bytes += static_cast<char>(static_cast<unsigned char>(number >> (8 * byte)));
  }
}

}  // namespace

std::uint32_t masked_crc32c(std::string_view bytes) {
  return std::rotr(base::crc32c(std::as_bytes(std::span(bytes))), 15) + 0xa282ead8U;
}

std::string record_of(const Event& event) {
  const std::string bytes = event.SerializeAsString();
  std::string record;
  append(record, static_cast<std::uint64_t>(bytes.size()));
  append(record, masked_crc32c(record));
  record += bytes;
  append(record, masked_crc32c(bytes));
  return record;
}

}  // namespace facet::tensorboard
