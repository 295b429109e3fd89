#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "facet/graph.h"
#include "facet/model_file.h"
#include "facet/parameters.h"
#include "formats/safetensors.h"

namespace facet::formats {

/// Writes a model file whose metadata also hold the state of a run: what save_model writes, and the strings of `state`.
/// The tensors are the weights alone, so that PyTorch's load_state_dict(strict=True) accepts the file. Tensors of an
/// optimiser's state belong in a separate file, written by write_safetensors, which `state` can name: renaming the
/// model file then switches both at once.
/// @throws Error as save_model does, and when a key of `state` is one of the model's own.
void write_model_file(const std::filesystem::path& file, const ModelInfo& info, const Parameters& parameters,
                      const Metadata& state);

/// Reads the ModelInfo of an open file. @throws Error as read_model_info does.
ModelInfo model_info_of(const SafetensorsReader& reader);

/// Loads the weights of an open file. If names, shapes or types don't fit, no parameter is set.
/// @throws Error as load_weights does.
void load_weights(const SafetensorsReader& reader, Parameters& parameters);

/// @throws Error naming the file, the tensor and the first value that is non-finite or, with `non_negative`, below 0.
void require_finite(const std::string& file, std::string_view tensor, const std::vector<float>& values,
                    bool non_negative);

/// Whether the tensor holds variances, that is, the running_var of a batch normalisation.
bool is_variance(std::string_view tensor);

/// @throws Error naming the first difference between the graph and `info`: the input's shape, the number of heads, the
///   name of a head or the number of its classes.
void require_graph(const ModelInfo& info, const Graph& graph);

// The metadata of a model file are strings: `format`, which is "facet"; `version`, which is "1" for the metadata
// described here; `model`; `size`, such as "224" for a square and "224x160", height x width, otherwise; `resize`, how
// images are resized to that size, "squash" or "crop" (ResizeMode; "squash" if the key is missing); `heads`, a JSON
// list of {"name", "classes"} in the order of the model's outputs; `mean` and `std`, JSON lists of three numbers;
// `shape`, only if the model has one of its own. Other keys are the caller's.
//
// Keys that are added to the metadata are optional and have a meaning when they are missing, so that files of every
// earlier version can be read. `version` changes only if that is impossible.

/// The value of `format` in the metadata of a model file.
inline constexpr std::string_view model_file_format = "facet";

/// @param file what messages call the file.
/// @throws Error naming the file and the value when `info` is invalid (no head, a class twice, a std of 0, ...).
Metadata to_metadata(const std::string& file, const ModelInfo& info);

/// @throws Error naming the file, the key, the value found and what is allowed.
ModelInfo to_model_info(const std::string& file, const Metadata& metadata);

}  // namespace facet::formats
