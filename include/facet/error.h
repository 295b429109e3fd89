#pragma once

#include <stdexcept>

#include "facet/export.h"

namespace facet {

/// The exception that facet throws. Its message is a single line that says what was found, where (file and line, or the
/// name of the op, parameter or head) and what is allowed.
class FACET_EXPORT Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace facet
