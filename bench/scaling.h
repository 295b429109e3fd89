#pragma once

#include <nlohmann/json.hpp>
#include <vector>

/// How a step's images/s grow with the threads.
namespace facet::bench {

/// Adds `speed_up`, the images/s over those of the first result, and `efficiency`, that over the ratio of their
/// threads.
void add_scaling(std::vector<nlohmann::json>& results);

/// A row a result.
void print_scaling(const std::vector<nlohmann::json>& results);

}  // namespace facet::bench
