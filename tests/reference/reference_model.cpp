#include "reference/reference_model.h"

#include "facet/models.h"
#include "models/heads.h"

namespace facet::testing {

Graph reference_without_dropout(int size) {
  return reference({.heads = fairface_heads(), .size = size, .dropout = false});
}

program::ProgramOptions model_options(std::int64_t batch, program::Mode mode) {
  return {.batch = batch, .mode = mode, .mean = {0.485F, 0.456F, 0.406F}, .std = {0.229F, 0.224F, 0.225F}};
}

}  // namespace facet::testing
