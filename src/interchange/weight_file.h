#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "facet/data.h"
#include "facet/graph.h"
#include "facet/model_file.h"
#include "interchange/safetensors.h"

namespace facet::interchange {

/// Rows that a layer may have that is a head, or is split into heads: a row is a class.
inline constexpr std::int64_t max_rows = 100'000;

/// A file of weights, of any format that is read.
struct WeightFile {
  std::string name = {};  ///< as messages call it, with the part of a checkpoint that is read: `w.pth["state_dict"]`
  std::vector<TensorSource> tensors = {};
  std::vector<Head> heads = {};  ///< what is known of the classes: of a model file of facet all
  bool has_shape = false;        ///< a model file of facet whose metadata tell a shape
};

/// Opens a safetensors file or what torch.save wrote; the format is told by the file's content, never by its name.
/// Tensors get the names that the model's own would have: without `module.` (DataParallel), `model.` and `_orig_mod.`
/// (torch.compile), each where all tensors have it and none of `parameters` does, and DenseNet's of before torchvision
/// 0.3 (`norm.1`) become today's (`norm1`). Two tensors may get the same name.
/// @throws Error naming the file and what was found: also more than 100,000 tensors, or a name of over 1,000 bytes.
WeightFile open_weights(const std::filesystem::path& file, const std::vector<Parameter>& parameters);

/// "heads.age" of "heads.age.weight".
std::string layer_of(std::string_view tensor);

/// The parameters of the linear layer that gives a head's logits, by index; empty where no such layer does.
std::vector<int> logits_parameters(const Graph& graph, std::string_view head);

/// A tensor of some rows of another one of type f32, in their order.
TensorSource take_rows(const TensorSource& tensor, const std::string& name, std::vector<std::int64_t> rows);

/// Replaces the layer that is to be split by one a head, called as the graph calls the layer of the head's logits
/// (`heads.NAME` where it has no such head); the heads are then among the file's.
/// @return the layer's rows that are no head's, as a text: "4-6"; empty: there are none.
/// @throws Error naming the file and the layers that it has when there is no linear layer of that name, a head whose
///   rows are beyond the layer's, a layer of more than max_rows, or heads without a layer to split.
std::string split_layer(WeightFile& file, const HeadSplit& split, const Graph& graph);

}  // namespace facet::interchange
