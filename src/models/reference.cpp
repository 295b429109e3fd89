#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>

#include "facet/dataset.h"
#include "facet/error.h"
#include "facet/models.h"
#include "facet/ops.h"
#include "models/classifier.h"

namespace facet {

namespace {

constexpr std::string_view subject = "the reference model";

std::string block_name(std::size_t index) { return fmt::format("block{}", index + 1); }

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
  add_head(x, head, {.name = "logits"});
}

/// Checks a number that the ops don't check, or one that could lead to an overflow of the number of weights.
/// @throws Error naming `where` when the number is out of range.
void require_within(std::string_view where, std::int64_t found, std::string_view what, std::int64_t low,
                    std::int64_t high) {
  if (found >= low && found <= high) return;
  throw Error(fmt::format("{}: {} {} found; {} to {} are allowed", where, found, what, low, high));
}

void check(const ModelOptions& options, const ReferenceShape& shape) {
  constexpr std::int64_t max_extent = ReferenceShape::max_extent;
  require_within(subject, std::ssize(shape.blocks), "blocks", 0, ReferenceShape::max_blocks);
  require_within("stem", shape.stem, "channels", 1, max_extent);
  for (std::size_t i = 0; i < shape.blocks.size(); ++i) {
    const std::string where = block_name(i);
    require_within(where, shape.blocks[i].channels, "channels", 1, max_extent);
    require_within(where, shape.blocks[i].residual_blocks, "residual blocks", 0, ReferenceShape::max_residual_blocks);
  }
  const std::vector<std::string> heads = names_of(options.heads);
  for (const auto& [name, hidden] : shape.hidden) {
    require_within(fmt::format("heads.{}.hidden", name), hidden.features, "features", 1, max_extent);
    if (std::find(heads.begin(), heads.end(), name) != heads.end()) continue;
    throw Error(fmt::format("{}: a hidden layer is given for head {}; the heads are {}", subject, name,
                            fmt::join(heads, ", ")));
  }
  const std::int64_t reduction = std::int64_t{2} << shape.blocks.size();
  const auto require_multiple = [&](const char* name, int side) {
    if (side >= reduction && side % reduction == 0) return;
    throw Error(fmt::format("{}: {} {} found; a multiple of {} is needed", subject, name, side, reduction));
  };
  require_multiple("height", options.size.height);
  require_multiple("width", options.size.width);
}

}  // namespace

ReferenceHidden reference_hidden(std::string_view head) {
  if (head == "gender") return {.features = 128};
  if (head == "race") return {.alpha = true};
  return {};
}

Graph reference(const ModelOptions& options, const ReferenceShape& shape) {
  check(options, shape);
  Graph graph;
  Value x = image(graph, subject, options);
  {
    const Scope scope(graph, "stem");
    x = convolution_bn_relu(x, shape.stem, 7, 2);
  }
  for (std::size_t i = 0; i < shape.blocks.size(); ++i) {
    const Scope scope(graph, block_name(i));
    x = block(x, shape.blocks[i].channels, shape.blocks[i].residual_blocks);
  }
  x = flatten(x);
  const Scope scope(graph, "heads");
  for (const Head& h : options.heads) {
    const auto named = shape.hidden.find(h.name);
    head(x, h, named != shape.hidden.end() ? named->second : reference_hidden(h.name), options.dropout);
  }
  return graph;
}

}  // namespace facet
