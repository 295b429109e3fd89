#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "facet/dataset.h"
#include "facet/export.h"
#include "facet/graph.h"
#include "facet/parameters.h"
#include "facet/tensor_types.h"

namespace facet {

/// The normalisation (pixels / 255 - mean) / std, by channel. The default values are ImageNet's.
struct Normalization {
  std::array<float, 3> mean{0.485F, 0.456F, 0.406F};
  std::array<float, 3> std{0.229F, 0.224F, 0.225F};
  bool operator==(const Normalization&) const = default;
};

/// The description of a model that is needed to use its weights.
struct ModelInfo {
  std::string model = "reference";         ///< a name that build_model knows, or the caller's name for its own model
  ImageSize size = 224;                    ///< of the input
  ResizeMode resize = ResizeMode::squash;  ///< how images are resized to that size, in training and inference
  std::vector<Head> heads = {};
  Normalization normalization = {};
  /// How the model differs from the default model of its name: for the reference model, the text of
  /// to_string(ReferenceShape), which build_model takes; for the caller's own model, any text; empty: no difference.
  std::string shape = {};
};

/// Writes a model file: safetensors with the weights under PyTorch's names in PyTorch's layouts. Its metadata hold
/// `info` and a CRC-32C of each tensor, which is checked on reading. The file is written completely or not at all.
/// @throws Error naming the file, with the system's reason or the value of `info` that a model file can't hold: a
///   missing name or head, a duplicate head or class, text that isn't UTF-8, a size or normalisation that is out of
///   range.
FACET_EXPORT void save_model(const std::filesystem::path& file, const ModelInfo& info, const Parameters& parameters);

/// Writes the weights of a model with one head for another program. The tensors are those of a model file, except that
/// the head's tensors, `heads.NAME.*`, are named after `layer`, the other program's name of its last layer
/// (torchvision_classifier), so that its load_state_dict accepts all of them. The metadata are those of a model file,
/// with `format` "pt" (PyTorch) and without `version`.
/// @throws Error as save_model does, naming the heads when there are several, and naming a head that is ordinal, which
///   has no such layer.
FACET_EXPORT void save_weights(const std::filesystem::path& file, const ModelInfo& info, const Parameters& parameters,
                               std::string_view layer);

/// Reads the description of a model from its file. @throws Error naming the file and what is wrong with it.
FACET_EXPORT ModelInfo read_model_info(const std::filesystem::path& file);

/// Reads all of a model file's metadata, by key, as text; those of a safetensors file of another program, too. The
/// CRC-32Cs are left out. @throws Error naming the file and what is wrong with it.
FACET_EXPORT std::map<std::string, std::string> read_metadata(const std::filesystem::path& file);

/// Reads the weights of a model file into parameters of the same names and shapes.
/// @throws Error naming the file and the first tensor that is missing, left over or of another shape, in which case no
///   parameter is set; or the first tensor whose CRC-32C doesn't match, or whose variances (running_var) aren't all
///   finite and at least 0, in which case the parameters before it have been set.
FACET_EXPORT void load_weights(const std::filesystem::path& file, Parameters& parameters);

/// The maximum number of rows of a layer in a file of weights that is split into heads. Each row is a class.
inline constexpr std::int64_t max_head_rows = 100'000;

/// Consecutive rows of a linear layer that give the logits of one head.
struct HeadRows {
  Head head = {};          ///< its name, and a class for each row, in their order
  std::int64_t first = 0;  ///< its first row
};

/// A linear layer in a file of weights that holds the logits of several heads. For example, the layer `fc` of
/// FairFace's ResNet-34 has 18 rows: 0 to 6 for race, 7 and 8 for gender, 9 to 17 for age.
struct HeadSplit {
  std::string layer = {};  ///< its name in the file; empty, with no heads: no layer is split
  std::vector<HeadRows> heads = {};
};

/// Parses a text such as "fc=race:0-6,gender:7-8,age:9-17": a layer and each head's name, first and last row. Not all
/// rows of the layer need to be named. The classes are those of default_classes.
/// @throws Error naming the text and what is allowed.
FACET_EXPORT HeadSplit parse_head_split(std::string_view text);

/// Returns class names for a head of which only the number of classes is known: FairFace's names, in its order, for a
/// head called age (9), gender (2) or race (7), in upper or lower case; otherwise "0", "1", "2", ...
FACET_EXPORT std::vector<std::string> default_classes(std::string_view head, std::int64_t count);

/// How a file of weights was loaded into a model.
struct PretrainedWeights {
  std::set<std::string> left_out = {};  ///< layers of the file's classifier that the model lacks or has in other shapes
  std::set<std::string> fresh = {};     ///< layers of the model's heads that keep their previous values
  std::set<std::string> reordered = {};      ///< heads whose classes have another order in the file
  std::set<std::string> other_classes = {};  ///< heads whose classes differ from those in the file
  std::string summary = {};                  ///< all of the above in one line
};

/// Loads initial weights into the parameters of a graph. The file is either safetensors or written by PyTorch's
/// torch.save, also before version 1.6 (but not before 0.1.10). It holds a state_dict, or a checkpoint with a
/// state_dict under `state_dict`, `model` or `model_state_dict`; if it has none of these, an averaged one under
/// `state_dict_ema` or `model_ema` is taken. Names are torchvision's, including DenseNet's old ones, or facet's; a
/// prefix `module.`, `model.` or `_orig_mod.` that all names share is removed. Values are f32, f64, f16 or bf16. The
/// file is only read as data: pickled code is never run.
///
/// Layers of the model's heads are loaded if the file has them in the same shapes; layers of the file's classifier
/// (`fc`, `classifier` and `heads`) that the model lacks or has in other shapes are left out. All other tensors must
/// exist in both the file and the model (except num_batches_tracked, which old files lack).
///
/// If the file's classes are known, from a model file's metadata or from `split`, logits are assigned to classes by
/// name, so that the order of the classes may differ; the logits of a head with other classes are left out, and those
/// of an ordinal head (Head::ordinal) with another order too.
/// @param heads heads of the graph, each once, with a name for each of its classes; for heads of the graph that are not
///   listed, the logits are taken in the file's order.
/// @param parameters the graph's parameters.
/// @param split a layer of the file that is split into one layer for each of its heads.
/// @throws Error naming the file and what is wrong with it: more than 100,000 tensors, or a name that is longer than
///   1,000 bytes or duplicate; the first tensor that is missing, has another shape or isn't one of the model's, each
///   with the number of further ones; a layer that can't be split, or has more than max_head_rows rows; a head whose
///   classes, or their order, differ from the file's and whose logits don't come from a linear layer; or a non-finite
///   value, a variance below 0 or a damaged tensor, in which case the parameters before it have been set. Also when the
///   parameters belong to another graph, when one of `heads` isn't in the graph or has another number of classes there,
///   and when `split` has heads but no layer.
FACET_EXPORT PretrainedWeights load_pretrained(const std::filesystem::path& file, const Graph& graph,
                                               const std::vector<Head>& heads, Parameters& parameters,
                                               const HeadSplit& split = {});

/// The name and shape of a tensor in a file of weights.
struct PretrainedTensor {
  std::string name = {};  ///< as load_pretrained uses it
  Shape shape = {};
};

/// Returns the tensors of a file of weights, in the file's order. Values are not checked.
/// @throws Error as load_pretrained does for the file's format and names.
FACET_EXPORT std::vector<PretrainedTensor> list_pretrained(const std::filesystem::path& file);

}  // namespace facet
