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
  std::vector<Head> heads;
  int size = 224;       ///< height and width of the input
  bool dropout = true;  ///< false: without the model's dropout layers
};

/// A block of the reference model: convolution, max-pooling and residual blocks.
struct ReferenceBlock {
  std::int64_t channels;
  int residual_blocks;
};

/// The hidden layer of the reference model before a head's logits.
struct ReferenceHidden {
  std::int64_t features = 256;
  float dropout = 0.5F;  ///< rate, in [0, 1)
  bool alpha = false;    ///< alpha dropout
};

/// The shape of the reference model.
struct ReferenceOptions {
  std::int64_t stem = 64;  ///< channels
  std::vector<ReferenceBlock> blocks{{64, 1}, {128, 1}, {256, 2}};
  /// By head; of heads that aren't named here, `other_hidden`.
  std::map<std::string, ReferenceHidden, std::less<>> hidden{{"gender", {.features = 128}}, {"race", {.alpha = true}}};
  ReferenceHidden other_hidden{};
};

/// The residual network of Khasanova and Sin, "Residual Blocks-Based Convolutional Neural Network for Age, Gender, and
/// Race Classification": 35,264,338 parameters at 224x224 with heads of 9, 2 and 7 classes. One of another shape is a
/// model of the caller's own: a model file keeps a model's name, not its shape.
/// @throws Error when the size is not a multiple of 16 (of 2 for the stem and for each block), when no head is given,
/// or naming the layer of an extent or rate that can't be.
FACET_EXPORT Graph reference(const ModelOptions& options, const ReferenceOptions& shape = {});

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
/// @throws Error naming the models that there are.
FACET_EXPORT Graph build_model(std::string_view name, const ModelOptions& options);

/// The names that build_model knows.
FACET_EXPORT std::vector<std::string> model_names();

}  // namespace facet
