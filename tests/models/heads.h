#pragma once

#include <string>
#include <utility>
#include <vector>

#include "facet/dataset.h"

namespace facet::testing {

inline Head head(std::string name, int classes) {
  Head result;
  result.name = std::move(name);
  for (int i = 0; i < classes; ++i) result.classes.push_back(std::to_string(i));
  return result;
}

inline std::vector<Head> fairface_heads() { return {head("age", 9), head("gender", 2), head("race", 7)}; }

}  // namespace facet::testing
