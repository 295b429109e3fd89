#pragma once

#include <array>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "facet/data.h"
#include "facet/export.h"
#include "facet/parameters.h"

namespace facet {

/// What is subtracted from and divided into pixels / 255, by channel. Default: ImageNet's.
struct Normalization {
  std::array<float, 3> mean{0.485F, 0.456F, 0.406F};
  std::array<float, 3> std{0.229F, 0.224F, 0.225F};
  bool operator==(const Normalization&) const = default;
};

/// What must be known to use a model's weights.
struct ModelInfo {
  std::string model = "reference";  ///< a name that build_model knows, or what the caller calls a model of its own
  int size = 224;                   ///< height and width of the input
  ResizeMode resize = ResizeMode::squash;  ///< how images are resized to it, in training and inference
  std::vector<Head> heads = {};
  Normalization normalization = {};
  /// How the model differs from what its name says, in words of its own: what build_model takes for the reference
  /// model (to_string(ReferenceShape)), anything for a model of the caller's own; empty: not at all.
  std::string shape = {};
};

/// Writes a model file: safetensors with the weights under PyTorch's names in PyTorch's layouts and `info` in its
/// metadata, beside a CRC-32C of each tensor, which is checked on reading. Written whole or not at all.
/// @throws Error naming the file and the system's reason, or what `info` has that no file can hold: no name, no head, a
///   head or class twice, anything not in UTF-8, a size or normalisation that can't be meant.
FACET_EXPORT void save_model(const std::filesystem::path& file, const ModelInfo& info, const Parameters& parameters);

/// Writes the weights of a model with one head for another program: the tensors of a model file, but that those of the
/// head, `heads.NAME.*`, are called `layer` as that program's model calls its last layer (torchvision_classifier), so
/// that its load_state_dict takes them all. The metadata are a model file's, of `format` "pt" (PyTorch) and without
/// `version`.
/// @throws Error as save_model does, and naming the heads when there are several.
FACET_EXPORT void save_weights(const std::filesystem::path& file, const ModelInfo& info, const Parameters& parameters,
                               std::string_view layer);

/// Reads what a model file says of itself. @throws Error naming the file and what is wrong with it.
FACET_EXPORT ModelInfo read_model_info(const std::filesystem::path& file);

/// Reads the weights of a model file into parameters of the same names and shapes.
/// @throws Error naming the file and the first tensor that is missing, left over or of another shape: nothing is set
///   then; or the first whose CRC-32C isn't the one that it was written with, or whose variances (running_var) aren't
///   all finite and at least 0: parameters before it have been set then.
FACET_EXPORT void load_weights(const std::filesystem::path& file, Parameters& parameters);

/// What of a file and of a model didn't meet: layers, such as "fc" or "heads.age".
struct PretrainedWeights {
  std::set<std::string> left_out = {};  ///< of the file's classifier: not the model's, or of other shapes there
  std::set<std::string> fresh = {};     ///< of the model's heads: they keep the values that they had
};

/// Weights to begin a training with, of another one: a safetensors file or what PyTorch's torch.save writes of a
/// state_dict (since 1.6, a zip archive), with torchvision's names or facet's; F32, F16, BF16 or, from PyTorch, F64.
/// What lies in the file is read as data: no pickled code is run, whatever it says. Layers of the model's heads are
/// taken where the file has them in the same shapes; layers of the file's classifier (`fc`, `classifier` and `heads`)
/// that the model has no place for are left out. All other tensors must be in both (but for num_batches_tracked, which
/// old files lack).
/// @throws Error naming the file and what is wrong with it: the first tensor that is missing, the first of another
///   shape, the first that is none of the model's, each with the number of others; or a value that isn't finite, a
///   variance below 0 or a tensor that is damaged, where parameters before it have been set already.
FACET_EXPORT PretrainedWeights load_pretrained(const std::filesystem::path& file, Parameters& parameters);

}  // namespace facet
