#include "facet/models.h"
#include "facet/ops.h"
#include "models/classifier.h"

namespace facet {

namespace {

Value convolution_relu(Value x, ConvolutionOptions options) {
  options.bias = true;
  return relu(convolution(x, options));
}

/// The layers' names are their indices in torchvision's Sequential, which also counts ReLU and pooling.
Value alexnet_features(Value x) {
  const Scope scope(x.graph(), "features");
  constexpr PoolOptions overlapping{.kernel = 3, .stride = 2};
  x = convolution_relu(x, {.channels = 64, .kernel = 11, .stride = 4, .padding = 2, .name = "0"});
  x = convolution_relu(max_pool(x, overlapping), {.channels = 192, .kernel = 5, .name = "3"});
  x = convolution_relu(max_pool(x, overlapping), {.channels = 384, .name = "6"});
  x = convolution_relu(x, {.channels = 256, .name = "8"});
  x = convolution_relu(x, {.channels = 256, .name = "10"});
  return max_pool(x, overlapping);
}

Value hidden_layer(Value x, const char* name, bool drop) {
  if (drop) x = dropout(x, 0.5F);
  return relu(linear(x, {.features = 4096, .name = name}));
}

}  // namespace

Graph alexnet(const ModelOptions& options) {
  constexpr int min_size = 63;  // for smaller sizes the input of the last pooling is smaller than its window
  Graph graph;
  Value x = alexnet_features(image(graph, "alexnet", options, min_size));
  x = flatten(adaptive_average_pool(x, {.height = 6, .width = 6}));
  {
    const Scope scope(graph, "classifier");
    x = hidden_layer(hidden_layer(x, "1", options.dropout), "4", options.dropout);
  }
  add_heads(x, options);
  return graph;
}

}  // namespace facet
