#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "facet/data.h"
#include "facet/export.h"
#include "facet/graph.h"
#include "facet/parameters.h"
#include "facet/tensor_types.h"

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

/// Rows of a linear layer that are a head: the logits of one question.
struct HeadRows {
  Head head = {};          ///< its name, and a class for each row, in their order
  std::int64_t first = 0;  ///< its first row
};

/// A linear layer of a file of weights in which the logits of several heads lie: the layer `fc` of FairFace's ResNet-34
/// has 18 rows, race 0 to 6, gender 7 and 8, age 9 to 17.
struct HeadSplit {
  std::string layer = {};  ///< as the file calls it; empty, without heads: none is split
  std::vector<HeadRows> heads = {};
};

/// Of "fc=race:0-6,gender:7-8,age:9-17": a layer and each head's name, first and last row. Rows may be left over. The
/// classes are default_classes'.
/// @throws Error naming the text and what is allowed.
FACET_EXPORT HeadSplit parse_head_split(std::string_view text);

/// Names for the classes of a head of which only the number is known: FairFace's, in its order, of a head called age
/// (9), gender (2) or race (7), in upper or lower case; otherwise "0", "1", "2", ...
FACET_EXPORT std::vector<std::string> default_classes(std::string_view head, std::int64_t count);

/// What of a file of weights went into a model.
struct PretrainedWeights {
  std::set<std::string> left_out = {};  ///< layers of the file's classifier that the model lacks or has in other shapes
  std::set<std::string> fresh = {};     ///< layers of the model's heads, which keep the values that they had
  std::set<std::string> reordered = {};      ///< heads whose classes have another order in the file
  std::set<std::string> other_classes = {};  ///< heads whose classes are others in the file
  std::string summary = {};                  ///< all of it in a line
};

/// Reads weights to begin with into the parameters of a graph: of a safetensors file, or of what PyTorch's torch.save
/// writes, before 1.6 too (but not before 0.1.10), of a state_dict or of a checkpoint that has one under `state_dict`,
/// `model` or `model_state_dict` (averaged ones, `state_dict_ema` and `model_ema`, are taken where there are none of
/// these). Names are torchvision's, DenseNet's old ones included, or facet's; `module.`, `model.` and `_orig_mod.` at
/// the beginning of all of them are passed over. Values are f32, f64, f16 or bf16. All is read as data: no pickled code is run,
/// whatever a file says.
///
/// Layers of the model's heads are taken where the file has them in the same shapes; layers of the file's classifier
/// (`fc`, `classifier` and `heads`) that the model has no place for are left out. All other tensors must be in both
/// (but for num_batches_tracked, which old files lack).
///
/// Where the file's classes are known, from a model file's metadata or from `split`, each of a head's classes gets its
/// own logit, in whatever order they are; the logits of a head of other classes are left out.
/// @param heads the graph's, each once, with a name for each of its classes; of a head that is not among them the
///   logits are taken in the file's order.
/// @param parameters the graph's.
/// @param split a layer of the file that becomes a layer for each of its heads.
/// @throws Error naming the file and what is wrong with it: more than 100,000 tensors, a name of over 1,000 bytes or
///   one that two tensors have; the first tensor that is missing, the first of another shape, the first that is none of
///   the model's, each with the number of others; the layer that can't be split, or has more than 100,000 rows; a head
///   whose classes differ from the file's, or are in another order, and whose logits no linear layer gives; or a value
///   that isn't finite, a variance below 0 or a tensor that is damaged, where parameters before it have been set
///   already. Also when the parameters are of another graph, when one of `heads` isn't the graph's or has another
///   number of classes than there, and when `split` has heads but no layer.
FACET_EXPORT PretrainedWeights load_pretrained(const std::filesystem::path& file, const Graph& graph,
                                               const std::vector<Head>& heads, Parameters& parameters,
                                               const HeadSplit& split = {});

/// A tensor of a file of weights.
struct PretrainedTensor {
  std::string name = {};  ///< as load_pretrained knows it
  Shape shape = {};
};

/// The tensors of a file of weights, in its order. @throws Error as load_pretrained does, but for values.
FACET_EXPORT std::vector<PretrainedTensor> list_pretrained(const std::filesystem::path& file);

}  // namespace facet
