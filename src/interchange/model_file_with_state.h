#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

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

/// @throws Error naming the file, the tensor and the first value that is infinite, no number or, with `non_negative`,
///   below 0.
void require_finite(const std::string& file, std::string_view tensor, const std::vector<float>& values,
                    bool non_negative);

/// Whether the tensor holds variances: it is a batch normalisation's running_var.
bool is_variance(std::string_view tensor);

}  // namespace facet::interchange
