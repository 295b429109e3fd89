#include "reference/reference_model.h"

#include <string>

#include "facet/models.h"

namespace facet::testing {

Graph reference_without_dropout(int size) {
  const auto head = [](const char* name, int classes) {
    Head result{name, {}};
    for (int i = 0; i < classes; ++i) result.classes.push_back(std::to_string(i));
    return result;
  };
  return reference({.heads = {head("age", 9), head("gender", 2), head("race", 7)}, .size = size, .dropout = false});
}

program::ProgramOptions model_options(std::int64_t batch, program::Mode mode) {
  return {.batch = batch, .mode = mode, .mean = {0.485F, 0.456F, 0.406F}, .std = {0.229F, 0.224F, 0.225F}};
}

}  // namespace facet::testing
