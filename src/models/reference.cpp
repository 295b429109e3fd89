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

void head(Value features, const Head& head, bool drop) {
  const Scope scope(features.graph(), head.name);
  Value x = relu(linear(features, {.features = head.name == "gender" ? 128 : 256, .name = "hidden"}));
  if (drop) x = head.name == "race" ? alpha_dropout(x, 0.5F) : dropout(x, 0.5F);
  softmax_cross_entropy(linear(x, {.features = static_cast<std::int64_t>(head.classes.size()), .name = "logits"}),
                        head.name);
}

}  // namespace

Graph reference(const ModelOptions& options) {
  if (options.size < 16 || options.size % 16 != 0) {
    throw Error(fmt::format("the reference model: size {} found; a multiple of 16 needed", options.size));
  }
  Graph graph;
  Value x = image(graph, "the reference model", options);
  {
    const Scope scope(graph, "stem");
    x = convolution_bn_relu(x, 64, 7, 2);
  }
  struct Stage {
    const char* name;
    std::int64_t channels;
    int residual_blocks;
  };
  for (const Stage& stage : {Stage{"block1", 64, 1}, Stage{"block2", 128, 1}, Stage{"block3", 256, 2}}) {
    const Scope scope(graph, stage.name);
    x = block(x, stage.channels, stage.residual_blocks);
  }
  x = flatten(x);
  const Scope scope(graph, "heads");
  for (const Head& h : options.heads) head(x, h, options.dropout);
  return graph;
}

}  // namespace facet
