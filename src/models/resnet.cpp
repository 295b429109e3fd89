#include <fmt/format.h>

#include <array>

#include "facet/models.h"
#include "facet/ops.h"
#include "models/classifier.h"

namespace facet {

namespace {

Value convolution_bn(Value x, ConvolutionOptions options, const char* bn) {
  options.weight_initializer = Initializer::kaiming_normal(options.channels * options.kernel * options.kernel);
  return batch_norm(convolution(x, options), {.name = bn});
}

/// Returns a block's input as it is added to the output: unchanged, or projected to the output's extents.
Value shortcut(Value x, std::int64_t channels, std::int64_t stride) {
  if (stride == 1 && x.channels() == channels) return x;
  const Scope scope(x.graph(), "downsample");
  return convolution_bn(x, {.channels = channels, .kernel = 1, .stride = stride, .name = "0"}, "1");
}

Value basic_block(Value x, std::int64_t width, std::int64_t stride) {
  Value y = relu(convolution_bn(x, {.channels = width, .stride = stride, .name = "conv1"}, "bn1"));
  y = convolution_bn(y, {.channels = width, .name = "conv2"}, "bn2");
  return relu(add(y, shortcut(x, width, stride)));
}

/// A bottleneck block. The stride is in the 3x3 convolution, as in torchvision; the paper has it in the first 1x1 one.
Value bottleneck(Value x, std::int64_t width, std::int64_t stride) {
  const std::int64_t channels = 4 * width;
  Value y = relu(convolution_bn(x, {.channels = width, .kernel = 1, .name = "conv1"}, "bn1"));
  y = relu(convolution_bn(y, {.channels = width, .stride = stride, .name = "conv2"}, "bn2"));
  y = convolution_bn(y, {.channels = channels, .kernel = 1, .name = "conv3"}, "bn3");
  return relu(add(y, shortcut(x, channels, stride)));
}

using Block = Value (*)(Value x, std::int64_t width, std::int64_t stride);

Graph resnet(std::string_view model, const ModelOptions& options, Block block, const std::array<int, 4>& blocks) {
  Graph graph;
  Value x = image(graph, model, options);
  x = relu(convolution_bn(x, {.channels = 64, .kernel = 7, .stride = 2, .name = "conv1"}, "bn1"));
  x = max_pool(x, {.kernel = 3, .stride = 2, .padding = 1});
  for (int stage = 0; stage < 4; ++stage) {
    const Scope layer(graph, fmt::format("layer{}", stage + 1));
    for (int i = 0; i < blocks[stage]; ++i) {
      const Scope scope(graph, i);
      x = block(x, std::int64_t{64} << stage, stage > 0 && i == 0 ? 2 : 1);
    }
  }
  add_heads(flatten(global_average_pool(x)), options);
  return graph;
}

}  // namespace

Graph resnet18(const ModelOptions& options) { return resnet("resnet18", options, basic_block, {2, 2, 2, 2}); }
Graph resnet34(const ModelOptions& options) { return resnet("resnet34", options, basic_block, {3, 4, 6, 3}); }
Graph resnet50(const ModelOptions& options) { return resnet("resnet50", options, bottleneck, {3, 4, 6, 3}); }

}  // namespace facet
