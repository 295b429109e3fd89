#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "facet/data.h"
#include "facet/export.h"
#include "facet/graph.h"

namespace facet {

struct ModelOptions {
  std::vector<Head> heads = {};  ///< names of their own, and classes of names of their own, none empty
  int size = 224;                ///< height and width of the input
  bool dropout = true;           ///< false: without the model's dropout layers
};

/// A block of the reference model: convolution, max-pooling and residual blocks.
struct ReferenceBlock {
  std::int64_t channels = 0;
  int residual_blocks = 0;
  bool operator==(const ReferenceBlock&) const = default;
};

/// The hidden layer of the reference model before a head's logits.
struct ReferenceHidden {
  std::int64_t features = 256;
  float dropout = 0.5F;  ///< rate, in [0, 1)
  bool alpha = false;    ///< alpha dropout
  bool operator==(const ReferenceHidden&) const = default;
};

/// The paper's for a head of this name: of `gender` with 128 features, of `race` with alpha dropout, of any other as
/// ReferenceHidden is by default.
FACET_EXPORT ReferenceHidden reference_hidden(std::string_view head);

/// The shape of the reference model; by default the paper's.
struct ReferenceShape {
  static constexpr std::int64_t most_extent = 65'536;  ///< channels or features of a layer
  static constexpr std::int64_t most_blocks = 13;      ///< which halve the largest images that a model looks at
  static constexpr std::int64_t most_residual_blocks = 1'024;

  std::int64_t stem = 64;  ///< channels
  std::vector<ReferenceBlock> blocks{{64, 1}, {128, 1}, {256, 2}};
  /// By head, each of them one of the model's. Heads that aren't named here have the paper's.
  std::map<std::string, ReferenceHidden, std::less<>> hidden{};
  bool operator==(const ReferenceShape&) const = default;
};

/// As ModelInfo::shape and build_model have it: JSON, {"stem": 64, "blocks": [{"channels": 64, "residual_blocks": 1},
/// ...], "hidden": {"race": {"features": 256, "dropout": 0.5, "alpha": true}, ...}}; empty for the paper's.
/// @throws Error naming a head that isn't UTF-8.
FACET_EXPORT std::string to_string(const ReferenceShape& shape);
/// Reads it back. @throws Error with the text and what is allowed.
FACET_EXPORT ReferenceShape parse_reference_shape(std::string_view text);

/// The residual network of Khasanova and Sin, "Residual Blocks-Based Convolutional Neural Network for Age, Gender, and
/// Race Classification": 35,264,338 parameters at 224x224 with heads of 9, 2 and 7 classes.
/// @throws Error when the size is not a multiple of 16 (of 2 for the stem and for each block), when no head is given,
/// when `shape` names a head that isn't there, or naming the layer of an extent or rate that can't be.
FACET_EXPORT Graph reference(const ModelOptions& options, const ReferenceShape& shape = {});

/// The models below are torchvision's of the same names: their parameters have its names, shapes, order and (drawn)
/// initial values, but for the last layer, which becomes one linear layer a head, `heads.NAME`. Every one throws Error
/// when no head is given or the size is below its least.

/// He et al. 2015, "Deep Residual Learning for Image Recognition": 11,689,512, 21,797,672 and 25,557,032 parameters
/// with one head of 1,000 classes. Of any size.
FACET_EXPORT Graph resnet18(const ModelOptions& options);
FACET_EXPORT Graph resnet34(const ModelOptions& options);
FACET_EXPORT Graph resnet50(const ModelOptions& options);

/// Huang et al. 2016, "Densely Connected Convolutional Networks": 7,978,856 and 28,681,000 parameters with one head of
/// 1,000 classes. Of sizes from 29.
FACET_EXPORT Graph densenet121(const ModelOptions& options);
FACET_EXPORT Graph densenet161(const ModelOptions& options);

/// Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks" (the AlexNet of 2012 in one
/// column): 61,100,840 parameters with one head of 1,000 classes. The heads share its two hidden layers, `classifier.1`
/// and `classifier.4`, which look at 6x6 values a channel: those of 224x224; of other sizes (from 63) what adaptive
/// pooling makes of them.
FACET_EXPORT Graph alexnet(const ModelOptions& options);

/// Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks": 3,504,872 parameters with one head of
/// 1,000 classes. Of any size.
FACET_EXPORT Graph mobilenet_v2(const ModelOptions& options);

/// A model by name.
/// @param shape of the reference model, as to_string(ReferenceShape) has it; empty: as the model's paper has it.
/// @throws Error naming the models that there are, or a model that has one shape only.
FACET_EXPORT Graph build_model(std::string_view name, const ModelOptions& options, std::string_view shape = {});

/// What torchvision's model of this name calls the layer in whose place the heads are: fc, classifier.6, ...
/// @throws Error naming the models of torchvision's that there are.
FACET_EXPORT std::string torchvision_classifier(std::string_view name);

/// The names that build_model knows.
FACET_EXPORT std::vector<std::string> model_names();

}  // namespace facet
