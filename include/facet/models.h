#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "facet/dataset.h"
#include "facet/export.h"
#include "facet/graph.h"
#include "facet/image.h"

namespace facet {

struct ModelOptions {
  std::vector<Head> heads = {};  ///< names are distinct and not empty, as are the class names of each head
  ImageSize size = 224;          ///< of the input
  bool dropout = true;           ///< false: the model's dropout layers are left out
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

/// Returns the paper's hidden layer for a head of this name: `gender` has 128 features, `race` uses alpha dropout, and
/// any other head has the defaults of ReferenceHidden.
FACET_EXPORT ReferenceHidden reference_hidden(std::string_view head);

/// The shape of the reference model; the default is the paper's.
struct ReferenceShape {
  static constexpr std::int64_t max_extent = 65'536;  ///< channels or features of a layer
  static constexpr std::int64_t max_blocks = 13;      ///< enough to reduce the largest input, 16384x16384, to 1x1
  static constexpr std::int64_t max_residual_blocks = 1'024;

  std::int64_t stem = 64;  ///< channels
  std::vector<ReferenceBlock> blocks{{64, 1}, {128, 1}, {256, 2}};
  /// Hidden layers by head name; each name is a head of the model. Other heads have the paper's hidden layer.
  std::map<std::string, ReferenceHidden, std::less<>> hidden{};
  bool operator==(const ReferenceShape&) const = default;
};

/// Returns the text that ModelInfo::shape and build_model take: JSON, {"stem": 64, "blocks": [{"channels": 64,
/// "residual_blocks": 1}, ...], "hidden": {"race": {"features": 256, "dropout": 0.5, "alpha": true}, ...}}; empty for
/// the paper's shape.
/// @throws Error when the name of a head isn't UTF-8.
FACET_EXPORT std::string to_string(const ReferenceShape& shape);
/// Parses the text that to_string returns. @throws Error with the text and what is allowed.
FACET_EXPORT ReferenceShape parse_reference_shape(std::string_view text);

/// The residual network of Khasanova and Sin, "Residual Blocks-Based Convolutional Neural Network for Age, Gender, and
/// Race Classification": 35,264,338 parameters at 224x224 with heads of 9, 2 and 7 classes.
/// @throws Error when the height or the width is not a multiple of 16 (a factor of 2 for the stem and for each block),
///   when no head is given, when `shape` names a head that the model lacks, or when an extent or rate is out of range
///   (naming its layer).
FACET_EXPORT Graph reference(const ModelOptions& options, const ReferenceShape& shape = {});

/// The models below are torchvision's models of the same names: parameters have the same names, shapes, order and
/// initial distributions. Only the last layer differs: it is replaced by one linear layer for each head, `heads.NAME`.
/// Each function throws Error when no head is given or a side is below the model's minimum.

/// He et al. 2015, "Deep Residual Learning for Image Recognition": 11,689,512, 21,797,672 and 25,557,032 parameters
/// with one head of 1,000 classes. Any size is allowed.
FACET_EXPORT Graph resnet18(const ModelOptions& options);
FACET_EXPORT Graph resnet34(const ModelOptions& options);
FACET_EXPORT Graph resnet50(const ModelOptions& options);

/// Huang et al. 2016, "Densely Connected Convolutional Networks": 7,978,856 and 28,681,000 parameters with one head of
/// 1,000 classes. Each side is at least 29.
FACET_EXPORT Graph densenet121(const ModelOptions& options);
FACET_EXPORT Graph densenet161(const ModelOptions& options);

/// Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks" (the AlexNet of 2012 in one
/// column): 61,100,840 parameters with one head of 1,000 classes. The heads share its two hidden layers, `classifier.1`
/// and `classifier.4`, whose input has 6x6 values per channel: the features of a 224x224 image; for other sizes (each
/// side at least 63) adaptive pooling brings the features to 6x6.
FACET_EXPORT Graph alexnet(const ModelOptions& options);

/// Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks": 3,504,872 parameters with one head of
/// 1,000 classes. Any size is allowed.
FACET_EXPORT Graph mobilenet_v2(const ModelOptions& options);

/// Builds a model by name.
/// @param shape the reference model's shape as to_string(ReferenceShape) returns it; empty: the shape of the paper.
/// @throws Error when the name is unknown (naming the known ones), or when a shape is given for a model other than the
///   reference model.
FACET_EXPORT Graph build_model(std::string_view name, const ModelOptions& options, std::string_view shape = {});

/// Returns the name that torchvision's model has for the layer that the heads replace: fc, classifier.6, ...
/// @throws Error when `name` is none of torchvision's models above, naming them.
FACET_EXPORT std::string torchvision_classifier(std::string_view name);

/// Returns the names that build_model knows.
FACET_EXPORT std::vector<std::string> model_names();

}  // namespace facet
