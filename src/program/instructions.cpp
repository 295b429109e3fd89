#include "facet/instructions.h"

#include "kernels/targets.h"
#include "onednn/onednn.h"

namespace facet {

void limit_instructions(std::string_view limit) {
  onednn::limit_instructions(limit);
  kernels::limit_instructions(limit);
}

}  // namespace facet
