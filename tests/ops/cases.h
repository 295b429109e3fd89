#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ops/network.h"

namespace facet::testing {

/// A network of the table cases.json: `front` (a convolution 3x3 with bias, left out at 0 channels), the ops under
/// test, and for each head a linear layer of its name and its loss. An op reads the value before it unless `from` names
/// others; values are called by the op's `name` (its parameters') or `as`.
struct Case {
  std::string name;  ///< op.case, as the reference's file is called
  nlohmann::json table;

  std::int64_t batch() const { return table.value("batch", 3); }
  /// Whether training draws random numbers, so that only evaluation can be compared.
  bool random() const { return table.value("random", false); }
  Graph build() const;
  /// Multiplies `front`'s weights where the case wants larger values.
  void scale_front(Parameters& parameters) const;
};

/// All cases, or those of one op.
std::vector<Case> read_cases(const std::string& op = {});

}  // namespace facet::testing
