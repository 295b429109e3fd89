#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "facet/data.h"
#include "facet/export.h"
#include "facet/graph.h"

namespace facet {

struct ModelOptions {
  std::vector<Head> heads;
  int size = 224;       ///< height and width of the input
  bool dropout = true;  ///< false: without the model's dropout layers
};

/// The residual network of Khasanova and Sin, "Residual Blocks-Based Convolutional Neural Network for Age, Gender, and Race
/// Classification": 35,264,338 parameters at 224x224 with heads of 9, 2 and 7 classes. Heads named `gender` have a hidden
/// layer of 128, others of 256; `race` drops out by alpha dropout, others by dropout.
/// @throws Error when the size is not a multiple of 16 or no head is given.
FACET_EXPORT Graph reference(const ModelOptions& options);

/// A model by name.
/// @throws Error naming the models that there are.
FACET_EXPORT Graph build_model(std::string_view name, const ModelOptions& options);

/// The names that build_model knows.
FACET_EXPORT std::vector<std::string> model_names();

}  // namespace facet
