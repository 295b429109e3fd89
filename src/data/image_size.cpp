#include <fmt/format.h>

#include <charconv>
#include <system_error>

#include "base/text.h"
#include "facet/error.h"
#include "facet/image.h"
#include "facet/text.h"

namespace facet {
namespace {

/// Returns the number that is the whole text; 0 if the text isn't a positive number that fits into an int.
int parse_side(std::string_view text) {
  int side = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), side);
  return error == std::errc() && end == text.data() + text.size() && side > 0 ? side : 0;
}

}  // namespace

std::string to_string(ImageSize size) { return fmt::format("{}x{}", size.height, size.width); }

ImageSize parse_image_size(std::string_view text) {
  const std::size_t cross = text.find('x');
  const int height = parse_side(text.substr(0, cross));
  const int width = cross == std::string_view::npos ? height : parse_side(text.substr(cross + 1));
  if (height == 0 || width == 0) {
    throw Error(
        fmt::format("the image size is '{}'; a number of pixels, such as 224, or HEIGHTxWIDTH, such as "
                    "224x160, is needed",
                    printable(text)));
  }
  return {height, width};
}

}  // namespace facet
