#pragma once

#include <string>
#include <string_view>

#include "facet/model_file.h"
#include "interchange/safetensors.h"

namespace facet::interchange {

// A model file's metadata, all strings: `format` "facet"; `version` "1", of what is described here; `model`; `size`, a
// number; `resize`, how images are resized to it, "squash" or "crop" (ResizeMode; a file without it means "squash");
// `heads`, a JSON list of {"name", "classes"} in the order of the model's outputs; `mean` and `std`, JSON lists of three
// numbers; `shape`, only where the model has one of its own. Other keys are the caller's.
//
// What is added to the metadata is a key that a file may lack, with a meaning for files without it, so that the files
// of every earlier version are still read. `version` changes only where that can't be done.

/// The format in the metadata of a model file.
inline constexpr std::string_view model_file_format = "facet";

/// @param file what messages call the file.
/// @throws Error naming the file and the value when `info` doesn't make sense (no head, a class twice, std of 0, ...).
Metadata to_metadata(const std::string& file, const ModelInfo& info);

/// @throws Error naming the file, the key, the value found and what is allowed.
ModelInfo to_model_info(const std::string& file, const Metadata& metadata);

}  // namespace facet::interchange
