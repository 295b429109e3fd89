#pragma once

#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "facet/ops.h"
#include "train/small_run.h"

/// Runs with progressive resizing, of a model whose weights fit images of any size.
namespace small {

inline constexpr int full_size = 96;

inline facet::ModelInfo resizable_info() {
  facet::ModelInfo result = info();
  result.size = full_size;
  return result;
}

inline facet::Graph resizable_model() {
  facet::Graph graph;
  facet::Value x = graph.input({3, full_size, full_size});
  x = max_pool(relu(batch_norm(convolution(x, {.channels = 8, .stride = 2}))), {});
  x = relu(convolution(x, {.channels = 16, .bias = true, .name = "conv1"}));
  x = flatten(global_average_pool(add(convolution(x, {.channels = 16, .bias = true, .name = "conv2"}), x)));
  for (const facet::Head& head : heads()) {
    const facet::Scope scope(graph, head.name);
    const facet::Value hidden = dropout(relu(linear(x, {.features = 16, .name = "hidden"})), 0.25F);
    softmax_cross_entropy(linear(hidden, {.features = std::ssize(head.classes), .name = "logits"}), head.name);
  }
  return graph;
}

/// Five epochs: two of 32x32, two of 64x64 and one of 96x96.
inline facet::TrainOptions resized_options(const std::filesystem::path& out = {}) {
  facet::TrainOptions result = options(out);
  result.epochs = 5;
  result.progressive_resizing = {.initial_scale = 0.34, .delay_fraction = 0.4, .finetune_fraction = 0.2};
  return result;
}

/// The images of another data set; notes in which sizes they are loaded, which must be squares.
class Sized final : public facet::Dataset {
 public:
  explicit Sized(const facet::Dataset& data) : data_(data) {}
  std::int64_t size() const override { return data_.size(); }
  const std::vector<facet::Head>& heads() const override { return data_.heads(); }
  std::span<const std::int32_t> labels(std::int64_t index) const override { return data_.labels(index); }
  std::string name(std::int64_t index) const override { return data_.name(index); }
  void load(const facet::LoadRequest& request, std::span<std::uint8_t> pixels) const override {
    {
      const std::lock_guard lock(mutex_);
      sizes_.insert(request.size.height == request.size.width ? request.size.height : -1);
    }
    data_.load(request, pixels);
  }
  /// The sides since the last call.
  std::set<int> take_sizes() {
    const std::lock_guard lock(mutex_);
    return std::exchange(sizes_, {});
  }

 private:
  const facet::Dataset& data_;
  mutable std::mutex mutex_;
  mutable std::set<int> sizes_;
};

}  // namespace small
