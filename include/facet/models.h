#pragma once

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

/// The residual network of Khasanova and Sin, "Residual Blocks-Based Convolutional Neural Network for Age, Gender, and
/// Race Classification": 35,264,338 parameters at 224x224 with heads of 9, 2 and 7 classes. Heads named `gender` have a
/// hidden layer of 128, others of 256; `race` drops out by alpha dropout, others by dropout.
/// @throws Error when the size is not a multiple of 16 or no head is given.
FACET_EXPORT Graph reference(const ModelOptions& options);

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
