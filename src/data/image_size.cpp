#include <fmt/format.h>

#include <charconv>
#include <system_error>

#include "facet/error.h"
#include "facet/image.h"
#include "facet/text.h"

namespace facet {
namespace {

/// Returns the number that is the whole text; 0 if the text isn't a number from 1 to max_image_side.
int parse_side(std::string_view text) {
  int side = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), side);
  const bool is_number = error == std::errc() && end == text.data() + text.size();
  return is_number && side >= 1 && side <= max_image_side ? side : 0;
}

}  // namespace

std::string to_string(ImageSize size) { return fmt::format("{}x{}", size.height, size.width); }

ImageSize parse_image_size(std::string_view text, std::string_view what) {
  const std::size_t cross = text.find('x');
  const int height = parse_side(text.substr(0, cross));
  const int width = cross == std::string_view::npos ? height : parse_side(text.substr(cross + 1));
  if (height == 0 || width == 0) {
    throw Error(fmt::format("{} is '{}'; a whole number from 1 to {}, or HEIGHTxWIDTH of such numbers, is needed", what,
                            printable(text), max_image_side));
  }
  return {height, width};
}

}  // namespace facet
