#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "facet/data.h"
#include "facet/models.h"
#include "options.h"

namespace facet::app {

/// --stem, --blocks, --hidden and --dropout: what of the reference model can be varied.
OptionGroup reference_shape_options();

/// What they ask for, of heads that needn't be known yet.
struct AskedShape {
  struct Dropout {
    float rate;
    bool alpha;
  };

  ReferenceShape trunk;  ///< all but the heads
  /// By head; of heads that aren't named the one under the empty name, and where that is missing the paper's.
  std::map<std::string, std::int64_t, std::less<>> features;
  std::map<std::string, Dropout, std::less<>> dropout;
};

/// @throws UsageError naming the option whose value can't be meant, or that is given with a model that has one shape.
AskedShape read_shape(const Options& options);

/// The shape for a model of these heads, as ModelInfo has it. @throws UsageError naming a head that isn't among them.
std::string shape_for(const Options& options, const AskedShape& asked, const std::vector<Head>& heads);

}  // namespace facet::app
