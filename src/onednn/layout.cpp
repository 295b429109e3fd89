#include <fmt/format.h>
#include <fmt/ranges.h>
#include <oneapi/dnnl/dnnl_debug.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "facet/error.h"
#include "onednn/onednn.h"

namespace facet::onednn {

namespace {

struct NamedTag {
  Tag tag;
  const char* name;
};

// Orders in which primitives pass activations to each other.
constexpr std::array<NamedTag, 5> image_tags{{{Tag::nchw, "nchw"},
                                              {Tag::nhwc, "nhwc"},
                                              {Tag::nChw16c, "nChw16c"},
                                              {Tag::nChw8c, "nChw8c"},
                                              {Tag::nChw4c, "nChw4c"}}};

const NamedTag* find_tag(const Layout& layout) {
  const Dims dims = dims_of(layout);
  if (dims.size() != 4) return nullptr;
  for (const NamedTag& candidate : image_tags) {
    if (Layout(dims, type_of(layout), candidate.tag) == layout) return &candidate;
  }
  return nullptr;
}

}  // namespace

Layout plain(const Dims& dims, Type type) {
  Dims strides(dims.size());
  std::int64_t stride = 1;
  for (std::size_t i = dims.size(); i-- > 0; stride *= dims[i]) strides[i] = stride;
  return {dims, type, strides};
}

Layout any(const Dims& dims, Type type) { return {dims, type, Tag::any}; }
Layout channels_last(const Dims& dims, Type type) { return {dims, type, Tag::nhwc}; }
Layout tagged(const Dims& dims, Type type, Tag tag) { return {dims, type, tag}; }

#if DNNL_VERSION_MAJOR >= 3
Dims dims_of(const Layout& layout) { return layout.get_dims(); }
Type type_of(const Layout& layout) { return layout.get_data_type(); }
bool is_opaque(const Layout& layout) { return layout.get_format_kind() == dnnl::memory::format_kind::opaque; }

std::optional<Dims> strides_of(const Layout& layout) {
  if (is_opaque(layout) || layout.get_inner_nblks() != 0) return std::nullopt;
  return layout.get_strides();
}
#else
Dims dims_of(const Layout& layout) { return layout.dims(); }
Type type_of(const Layout& layout) { return layout.data_type(); }
bool is_opaque(const Layout& layout) {
  return layout.data.format_kind != dnnl_blocked && layout.data.format_kind != dnnl_format_kind_any;
}

std::optional<Dims> strides_of(const Layout& layout) {
  if (layout.data.format_kind != dnnl_blocked || layout.data.format_desc.blocking.inner_nblks != 0) return std::nullopt;
  const auto& strides = layout.data.format_desc.blocking.strides;
  return Dims(strides, strides + layout.data.ndims);
}
#endif

std::optional<Layout> slice(const Layout& layout, const Dims& dims, const Dims& offset) {
  try {
    return layout.submemory_desc(dims, offset);
  } catch (const dnnl::error&) {
    return std::nullopt;
  }
}

std::optional<std::int64_t> row_stride(const Layout& layout) {
  const Dims dims = dims_of(layout);
  const std::optional<Dims> strides = strides_of(layout);
  if (!strides || dims.size() != 4) return std::nullopt;
  // The stride of a dimension of extent 1 has no meaning.
  const std::int64_t row = dims[3] > 1 ? (*strides)[3] : dims[2] > 1 ? (*strides)[2] : (*strides)[0];
  const Dims wanted{dims[2] * dims[3] * row, 1, dims[3] * row, row};
  if (row < dims[1]) return std::nullopt;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] > 1 && (*strides)[i] != wanted[i]) return std::nullopt;
  }
  return row;
}

std::size_t data_size(const Layout& layout) {
  if (!row_stride(layout)) return layout.get_size();
  const Dims dims = dims_of(layout);
  return static_cast<std::size_t>(dims[0] * dims[1] * dims[2] * dims[3]) *
         dnnl::memory::data_type_size(type_of(layout));
}

std::string name_of(const Layout& layout) {
  const NamedTag* found = find_tag(layout);
  return found != nullptr ? found->name : "other";
}

namespace {

constexpr std::string_view strides_word = "strides ";

const char* name_of_tag(int tag) { return dnnl_fmt_tag2str(static_cast<dnnl_format_tag_t>(tag)); }

/// The number of dimensions of a tag, whose name has a letter for each: 4 for "ABcd16b16a".
std::size_t dimensions_of_tag(int tag) {
  std::size_t dimensions = 0;
  for (const char* at = name_of_tag(tag); *at != '\0'; ++at) {
    if (*at >= 'a' && *at <= 'l') dimensions = std::max<std::size_t>(dimensions, *at - 'a' + 1);
    if (*at >= 'A' && *at <= 'L') dimensions = std::max<std::size_t>(dimensions, *at - 'A' + 1);
  }
  return dimensions;
}

/// The layout that `make` makes; nothing if oneDNN refuses it.
template <class Make>
std::optional<Layout> made(const Make& make) {
  try {
    return make();
  } catch (const dnnl::error&) {
    return std::nullopt;
  }
}

/// The layout of these extents in the order of a tag; nothing if the tag is of another number of dimensions.
std::optional<Layout> by_tag(const Dims& dims, Type type, int tag) {
  if (dimensions_of_tag(tag) != dims.size()) return std::nullopt;
  return made([&] { return Layout(dims, type, static_cast<Tag>(tag)); });
}

/// The first tag that `is_it` accepts; dnnl_format_tag_last if there is none.
template <class IsIt>
int find_format_tag(const IsIt& is_it) {
  int tag = dnnl_format_tag_any + 1;
  while (tag < dnnl_format_tag_last && !is_it(tag)) ++tag;
  return tag;
}

/// Reads comma-separated whole numbers of at least 0; empty if the text is something else.
Dims read_numbers(std::string_view text) {
  Dims numbers;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    std::int64_t number = 0;
    const std::from_chars_result read = std::from_chars(text.data() + begin, text.data() + end, number);
    if (read.ec != std::errc() || read.ptr != text.data() + end || number < 0) return {};
    numbers.push_back(number);
    begin = end + 1;
  }
  return numbers;
}

}  // namespace

std::string write_order(const Layout& layout) {
  if (const std::optional<Dims> strides = strides_of(layout)) {
    return fmt::format("{}{}", strides_word, fmt::join(*strides, ","));
  }
  const int tag = find_format_tag([&](int it) { return by_tag(dims_of(layout), type_of(layout), it) == layout; });
  return tag == dnnl_format_tag_last ? std::string() : name_of_tag(tag);
}

Layout read_order(const Dims& dims, Type type, std::string_view order) {
  std::optional<Layout> found;
  if (order.starts_with(strides_word)) {
    const Dims strides = read_numbers(order.substr(strides_word.size()));
    if (strides.size() == dims.size()) found = made([&] { return Layout(dims, type, strides); });
  } else {
    const int tag = find_format_tag([&](int it) { return order == name_of_tag(it); });
    if (tag != dnnl_format_tag_last) found = by_tag(dims, type, tag);
  }
  if (!found) {
    throw Error(
        fmt::format("the order of elements '{}' found; an order of {} dimensions is needed", order, dims.size()));
  }
  return *found;
}

Layout with_type(const Layout& layout, Type type) {
  if (const std::optional<Dims> strides = strides_of(layout)) return {dims_of(layout), type, *strides};
  return read_order(dims_of(layout), type, write_order(layout));
}

Layout with_dims(const Layout& layout, const Dims& dims) {
  const NamedTag* found = find_tag(layout);
  return found != nullptr && dims.size() == 4 ? Layout(dims, type_of(layout), found->tag)
                                              : plain(dims, type_of(layout));
}

}  // namespace facet::onednn
