#pragma once

#include <filesystem>

#include "facet/model_file.h"
#include "facet/parameters.h"
#include "interchange/safetensors.h"

namespace facet::interchange {

/// Writes a model file whose metadata also holds a run's state: what save_model writes, and `state`'s strings beside
/// it. Tensors are the weights alone, so that PyTorch's load_state_dict(strict=True) takes the file; tensors of state
/// (an optimiser's) go into a file of their own, by write_safetensors, which the state can name: one rename of the
/// model file then switches both.
/// @throws Error as save_model does, and when a key of the state is one of the model's own.
void write_model_file(const std::filesystem::path& file, const ModelInfo& info, const Parameters& parameters,
                      const Metadata& state);

/// ModelInfo of a file that is open. @throws Error as read_model_info does.
ModelInfo model_info_of(const SafetensorsReader& reader);

/// Weights of a file that is open. Sets all of them or, where names, shapes or types don't fit, none.
/// @throws Error as load_weights does.
void load_weights(const SafetensorsReader& reader, Parameters& parameters);

}  // namespace facet::interchange
