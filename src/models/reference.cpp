#include <fmt/format.h>

#include "facet/error.h"
#include "facet/models.h"
#include "facet/ops.h"
#include "models/classifier.h"

namespace facet {

namespace {

Value convolution_bn_relu(Value x, std::int64_t channels, std::int64_t kernel, std::int64_t stride) {
  x = convolution(x, {.channels = channels, .kernel = kernel, .stride = stride});
  return relu(batch_norm(x));
}

Value residual_block(Value x) {
  const std::int64_t channels = x.channels();
  Value y = relu(batch_norm(convolution(x, {.channels = channels, .name = "conv1"}), {.name = "bn1"}));
  y = batch_norm(convolution(y, {.channels = channels, .name = "conv2"}), {.name = "bn2"});
  return relu(add(y, x));
}

Value block(Value x, std::int64_t channels, int residual_blocks) {
  Graph& graph = x.graph();
  x = max_pool(convolution_bn_relu(x, channels, 3, 1), {.kernel = 2});
  const Scope residual(graph, "residual");
  for (int i = 0; i < residual_blocks; ++i) {
    const Scope scope(graph, i);
    x = residual_block(x);
  }
  return x;
}

void head(Value features, const Head& head, const ReferenceHidden& hidden, bool drop) {
  const Scope scope(features.graph(), head.name);
  Value x = relu(linear(features, {.features = hidden.features, .name = "hidden"}));
  if (drop) x = hidden.alpha ? alpha_dropout(x, hidden.dropout) : dropout(x, hidden.dropout);
  softmax_cross_entropy(linear(x, {.features = static_cast<std::int64_t>(head.classes.size()), .name = "logits"}),
                        head.name);
}

}  // namespace

Graph reference(const ModelOptions& options, const ReferenceOptions& shape) {
  const std::int64_t reduction = std::int64_t{2} << shape.blocks.size();
  if (options.size < reduction || options.size % reduction != 0) {
    throw Error(fmt::format("the reference model: size {} found; a multiple of {} needed", options.size, reduction));
  }
  Graph graph;
  Value x = image(graph, "the reference model", options);
  {
    const Scope scope(graph, "stem");
    x = convolution_bn_relu(x, shape.stem, 7, 2);
  }
  for (std::size_t i = 0; i < shape.blocks.size(); ++i) {
    const Scope scope(graph, fmt::format("block{}", i + 1));
    x = block(x, shape.blocks[i].channels, shape.blocks[i].residual_blocks);
  }
  x = flatten(x);
  const Scope scope(graph, "heads");
  for (const Head& h : options.heads) {
    const auto named = shape.hidden.find(h.name);
    head(x, h, named != shape.hidden.end() ? named->second : shape.other_hidden, options.dropout);
  }
  return graph;
}

}  // namespace facet
