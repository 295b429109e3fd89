#include "facet/models.h"
#include "facet/ops.h"
#include "models/classifier.h"

namespace facet {

namespace {

/// A convolution and its batch normalisation. As in torchvision's Sequential, they are named `index` and `index` + 1.
Value convolution_bn(Value x, ConvolutionOptions options, int index) {
  options.weight_initializer = Initializer::kaiming_normal(options.channels * options.kernel * options.kernel);
  options.name = std::to_string(index);
  return batch_norm(convolution(x, options), {.name = std::to_string(index + 1)});
}

Value unit(Value x, int index, const ConvolutionOptions& options) {
  const Scope scope(x.graph(), index);
  return relu6(convolution_bn(x, options, 0));
}

/// A 1x1 expansion (unless the factor is 1), a 3x3 depthwise convolution and a linear 1x1 bottleneck.
Value inverted_residual(Value x, std::int64_t expansion, std::int64_t channels, std::int64_t stride) {
  const Scope scope(x.graph(), "conv");
  const std::int64_t hidden = expansion * x.channels();
  Value y = x;
  int index = 0;
  if (expansion != 1) y = unit(y, index++, {.channels = hidden, .kernel = 1});
  y = unit(y, index++, {.channels = hidden, .stride = stride, .groups = hidden});
  y = convolution_bn(y, {.channels = channels, .kernel = 1}, index);
  return stride == 1 && x.channels() == channels ? add(y, x) : y;
}

struct Stage {
  std::int64_t expansion, channels;
  int blocks;
  std::int64_t stride;  ///< of the first block
};
constexpr Stage stages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                            {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};

Value features(Value x) {
  Graph& graph = x.graph();
  const Scope scope(graph, "features");
  int index = 0;
  x = unit(x, index++, {.channels = 32, .stride = 2});
  for (const Stage& stage : stages) {
    for (int i = 0; i < stage.blocks; ++i) {
      const Scope block(graph, index++);
      x = inverted_residual(x, stage.expansion, stage.channels, i == 0 ? stage.stride : 1);
    }
  }
  return unit(x, index, {.channels = 1280, .kernel = 1});
}

}  // namespace

Graph mobilenet_v2(const ModelOptions& options) {
  Graph graph;
  Value x = flatten(global_average_pool(features(image(graph, "mobilenet_v2", options))));
  if (options.dropout) x = dropout(x, 0.2F);
  add_heads(x, options, {.weight_initializer = Initializer::normal(0.01F), .bias_initializer = Initializer::zeros()});
  return graph;
}

}  // namespace facet
