#include <facet/dataset.h>
#include <facet/ops.h>
#include <facet/training.h>

#include <cstdio>
#include <random>

// Noisy stripes of random phase, labelled by their direction.
facet::MemoryDataset stripes(int count, int size) {
  facet::MemoryDataset data({{"direction", {"across", "down"}}});
  std::mt19937 random(count);
  for (int i = 0; i < count; ++i) {
    facet::Image image{size, size, {}};
    const int label = i % 2, phase = random() % 4;
    for (int at = 0; at < size * size * 3; ++at) {
      const int x = at / 3 % size, y = at / 3 / size;
      image.pixels.push_back(((label ? x : y) + phase) / 2 % 2 * 100 + random() % 156);
    }
    data.add(std::move(image), {label});
  }
  return data;
}

facet::Graph network(int size) {
  facet::Graph graph;
  facet::Value x = graph.input({3, size, size});
  x = facet::relu(facet::batch_norm(facet::convolution(x, {.channels = 16})));
  x = facet::flatten(facet::max_pool(x, {.kernel = 4}));
  facet::softmax_cross_entropy(facet::linear(x, {.features = 2, .name = "logits"}), "direction");
  return graph;
}

// Keeps the validation accuracy of the last epoch.
struct LastAccuracy final : facet::TrainSink {
  void on_epoch(const facet::EpochResult& epoch) override { value = epoch.validation[0].accuracy; }
  double value = 0;
};

int main() {
  const auto train = stripes(512, 16), validation = stripes(128, 16);
  const facet::ModelInfo info{.model = "stripes", .size = 16, .heads = train.heads()};
  facet::Trainer trainer(network(16), info, train, &validation, {.epochs = 8, .batch = 32, .learning_rate = 1e-3});
  LastAccuracy accuracy;
  trainer.run({&accuracy});
  std::printf("validation accuracy after 8 epochs: %.3f\n", accuracy.value);
  return accuracy.value >= 0.95 ? 0 : 1;
}
