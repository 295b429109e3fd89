#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "facet/export.h"

namespace facet {

/// facet's version: "0.1.0".
FACET_EXPORT std::string_view version();

/// A property of the library as it was built, and as it runs on this machine.
struct BuildFeature {
  std::string name = {};   ///< "image formats"
  std::string value = {};  ///< "JPEG (libjpeg-turbo 2.1.5)"
};

/// What the library was built with: oneDNN and the runtime of its threads, the instruction sets of facet's own kernels,
/// image formats.
FACET_EXPORT std::vector<BuildFeature> build_features();

}  // namespace facet
