#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "facet/data.h"

namespace facet::data {

/// The heads' names, in their order.
std::vector<std::string> names_of(const std::vector<Head>& heads);

/// So many names of a list stand in a message.
inline constexpr std::size_t max_listed = 20;

/// Names a list in a message: "a, b, c", printable; of more than max_listed the first, and how many more there are.
std::string list_of(const std::vector<std::string>& names);

/// @param where what messages begin with.
/// @throws Error unless each head, and each class of a head, has a name of its own, in UTF-8, and each head a class.
void require_named_heads(const std::string& where, const std::vector<Head>& heads);

/// @param set what messages call the data set.
/// @throws Error naming the index and those allowed unless it is that of one of `size` images.
void require_index(const std::string& set, std::int64_t index, std::int64_t size);

/// @param image what messages call the image.
/// @throws Error naming image, head, label and those allowed unless there is one label a head, each a class or
/// no_label.
void require_labels(const std::string& image, std::span<const std::int32_t> labels, const std::vector<Head>& heads);

}  // namespace facet::data
