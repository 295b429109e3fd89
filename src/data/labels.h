#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "facet/data.h"

namespace facet::data {

/// The heads' names, in their order.
std::vector<std::string> names_of(const std::vector<Head>& heads);

/// @param image what messages call the image.
/// @throws Error naming image, head, label and those allowed unless there is one label a head, each a class or
/// no_label.
void require_labels(const std::string& image, std::span<const std::int32_t> labels, const std::vector<Head>& heads);

}  // namespace facet::data
