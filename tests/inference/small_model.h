#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/random.h"
#include "facet/dataset.h"
#include "facet/graph.h"
#include "facet/image.h"
#include "facet/model_file.h"
#include "facet/ops.h"
#include "testing.h"

/// A model, and images that it can learn from, so small that a run takes a second.
namespace small {

inline constexpr int size = 16;

inline std::vector<facet::Head> heads() {
  return {{"colour", {"red", "green", "blue"}}, {"side", {"left", "right"}}, {"stripes", {"none", "across", "down"}}};
}

inline facet::ModelInfo info() {
  facet::ModelInfo result;
  result.model = "small";
  result.size = size;
  result.heads = heads();
  return result;
}

/// Has the parts that make resuming hard: batch statistics, dropout, a residual connection, heads on one trunk.
inline facet::Graph model(const std::vector<facet::Head>& head_list = heads(), facet::ImageSize image = size) {
  facet::Graph graph;
  facet::Value x = graph.input({3, image.height, image.width});
  {
    const facet::Scope stem(graph, "stem");
    x = relu(batch_norm(convolution(x, {.channels = 16})));
  }
  x = max_pool(x, {});
  {
    const facet::Scope block(graph, "block");
    const facet::Value y = relu(batch_norm(convolution(x, {.channels = 16, .name = "conv1"}), {.name = "bn1"}));
    x = relu(add(batch_norm(convolution(y, {.channels = 16, .name = "conv2"}), {.name = "bn2"}), x));
  }
  x = flatten(max_pool(x, {}));
  for (const facet::Head& head : head_list) {
    const facet::Scope scope(graph, head.name);
    const facet::Value hidden = dropout(relu(linear(x, {.features = 32, .name = "hidden"})), 0.25F);
    const auto classes = static_cast<std::int64_t>(head.classes.size());
    softmax_cross_entropy(linear(hidden, {.features = classes, .name = "logits"}), head.name);
  }
  return graph;
}

/// A coloured square on one side, striped or not, on noise. Every ninth image lacks the label of its side.
inline facet::MemoryDataset images(int count, std::uint64_t seed = 1) {
  facet::MemoryDataset data(heads());
  for (int index = 0; index < count; ++index) {
    facet::base::RandomStream random(seed, facet::base::Purpose::synthesis, static_cast<std::uint64_t>(index));
    const auto colour = static_cast<int>(random.below(3)), stripes = static_cast<int>(random.below(3));
    const bool right = random.below(2) == 1;
    const int left_edge = (right ? 9 : 1) + static_cast<int>(random.below(2)),
              top = 2 + static_cast<int>(random.below(6));
    facet::Image image{size, size, {}};
    for (int y = 0; y < size; ++y) {
      for (int x = 0; x < size; ++x) {
        const bool in_square = x >= left_edge && x < left_edge + 5 && y >= top && y < top + 6;
        const bool dark = (stripes == 1 && y % 2 == 0) || (stripes == 2 && x % 2 == 0);
        for (int channel = 0; channel < 3; ++channel) {
          const int base = in_square && !dark && channel == colour ? 190 : 40;
          image.pixels.push_back(static_cast<std::uint8_t>(base + static_cast<int>(random.below(60))));
        }
      }
    }
    data.add(std::move(image), {colour, index % 9 == 8 ? facet::no_label : static_cast<int>(right), stripes});
  }
  return data;
}

}  // namespace small
