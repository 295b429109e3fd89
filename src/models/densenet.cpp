#include <fmt/format.h>

#include <array>

#include "facet/models.h"
#include "facet/ops.h"
#include "models/classifier.h"

namespace facet {

namespace {

struct DenseNet {
  std::int64_t growth;        ///< channels that each dense layer adds
  std::int64_t stem;          ///< channels of the first convolution
  std::array<int, 4> layers;  ///< dense layers of each dense block
};

Value kaiming_convolution(Value x, ConvolutionOptions options) {
  options.weight_initializer = Initializer::kaiming_normal(x.channels() * options.kernel * options.kernel);
  return convolution(x, options);
}

Value bn_relu_convolution(Value x, const char* norm, const ConvolutionOptions& options) {
  return kaiming_convolution(relu(batch_norm(x, {.name = norm})), options);
}

/// Concatenates the input and the `growth` channels that the layer computes from it.
Value dense_layer(Value x, std::int64_t growth) {
  Value y = bn_relu_convolution(x, "norm1", {.channels = 4 * growth, .kernel = 1, .name = "conv1"});
  y = bn_relu_convolution(y, "norm2", {.channels = growth, .name = "conv2"});
  return concat({x, y});
}

Value transition(Value x) {
  x = bn_relu_convolution(x, "norm", {.channels = x.channels() / 2, .kernel = 1, .name = "conv"});
  return average_pool(x, {.kernel = 2});
}

Value features(Value x, const DenseNet& net) {
  Graph& graph = x.graph();
  const Scope features(graph, "features");
  x = kaiming_convolution(x, {.channels = net.stem, .kernel = 7, .stride = 2, .name = "conv0"});
  x = max_pool(relu(batch_norm(x, {.name = "norm0"})), {.kernel = 3, .stride = 2, .padding = 1});
  for (int block = 1; block <= 4; ++block) {
    {
      const Scope scope(graph, fmt::format("denseblock{}", block));
      for (int i = 1; i <= net.layers[block - 1]; ++i) {
        const Scope layer(graph, fmt::format("denselayer{}", i));
        x = dense_layer(x, net.growth);
      }
    }
    if (block == 4) break;
    const Scope scope(graph, fmt::format("transition{}", block));
    x = transition(x);
  }
  return relu(batch_norm(x, {.name = "norm5"}));
}

Graph densenet(std::string_view model, const ModelOptions& options, const DenseNet& net) {
  Graph graph;
  constexpr int min_size = 29;  // for smaller sizes the input of the last transition is too small to be halved
  const Value x = features(image(graph, model, options, min_size), net);
  add_heads(flatten(global_average_pool(x)), options, {.bias_initializer = Initializer::zeros()});
  return graph;
}

}  // namespace

Graph densenet121(const ModelOptions& options) {
  return densenet("densenet121", options, {.growth = 32, .stem = 64, .layers = {6, 12, 24, 16}});
}
Graph densenet161(const ModelOptions& options) {
  return densenet("densenet161", options, {.growth = 48, .stem = 96, .layers = {6, 12, 36, 24}});
}

}  // namespace facet
