#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "facet/dataset.h"
#include "facet/graph.h"
#include "facet/model_file.h"
#include "formats/safetensors.h"

namespace facet::formats {

/// A file of weights, in any format that can be read.
struct WeightFile {
  std::string name = {};  ///< its name in messages, with the part of a checkpoint that is read: `w.pth["state_dict"]`
  std::vector<TensorSource> tensors = {};
  std::vector<Head> heads = {};  ///< the heads whose classes are known: all heads of a facet model file
  bool has_shape = false;        ///< whether the file's metadata hold the shape of a model
};

/// Opens a safetensors file or a file that torch.save wrote. The content determines the format, not the file's name.
/// Tensors get the names that they have in the model itself: the prefixes `module.` (DataParallel), `model.` and
/// `_orig_mod.` (torch.compile) are removed if all tensors have them and none of `parameters` does, and DenseNet's
/// names from before torchvision 0.3 (`norm.1`) become the current ones (`norm1`). Two tensors may get the same name.
/// @throws Error naming the file and what was found, for more than 100,000 tensors or a name of over 1,000 bytes too.
WeightFile open_weights(const std::filesystem::path& file, const std::vector<Parameter>& parameters);

/// Returns the layer of a tensor: "heads.age" for "heads.age.weight".
std::string layer_of(std::string_view tensor);

/// Returns the indices of the parameters of the linear layer that computes a head's logits; empty if there is none.
std::vector<int> logits_parameters(const Graph& graph, std::string_view head);

/// Returns a tensor of the given rows of an f32 tensor, in the given order.
TensorSource take_rows(const TensorSource& tensor, const std::string& name, std::vector<std::int64_t> rows);

/// Replaces the layer that is to be split by one layer per head, with the graph's name of the layer that computes the
/// head's logits (`heads.NAME` if there is none), and adds the heads to those of the file.
/// @return the layer's rows that belong to no head, as text: "4-6"; empty if there are none.
/// @throws Error naming the file and its layers when there is no linear layer of that name; also for a head with rows
///   beyond the layer's, a layer of more than max_head_rows rows, or heads without a layer to split.
std::string split_layer(WeightFile& file, const HeadSplit& split, const Graph& graph);

}  // namespace facet::formats
