// A training loop of one's own: a learning rate for each step, the gradients' norm, an early stop, the best weights.
#include <facet/loader.h>
#include <facet/ops.h>
#include <facet/session.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>

facet::MemoryDataset squares(int count) {  // on the left or on the right of a noisy image of 12 rows and 24 columns
  facet::MemoryDataset data({{"side", {"left", "right"}}});
  std::mt19937 random(count);
  for (int i = 0; i < count; ++i) {
    facet::Image image{.width = 24, .height = 12};
    const int side = i % 2, from = side * 12 + random() % 6, top = random() % 6;
    for (int at = 0; at < 12 * 24 * 3; ++at) {
      const int x = at / 3 % 24, y = at / 3 / 24;
      const bool inside = x >= from && x < from + 6 && y >= top && y < top + 6;
      image.pixels.push_back((inside ? 120 : 0) + random() % 136);
    }
    data.add(std::move(image), {side});
  }
  return data;
}

int main() {
  const facet::ImageSize size(12, 24);  // height and width
  facet::Graph graph;
  facet::Value x = facet::relu(facet::batch_norm(facet::convolution(graph.input({3, 12, 24}), {.channels = 16})));
  x = facet::flatten(facet::max_pool(x, {.kernel = 4}));
  facet::softmax_cross_entropy(facet::linear(x, {.features = 2, .name = "logits"}), "side");

  const auto train = squares(512), validation = squares(128);
  const facet::ModelInfo info{.model = "squares", .size = size, .heads = train.heads()};
  const facet::TrainOptions options{.epochs = 8, .batch = 32, .learning_rate = 2e-3, .keep_gradients = true};
  facet::TrainingSession session(std::move(graph), info, options);
  facet::Loader loader(train, {.batch = 32, .size = size, .flip = false});
  double accuracy = 0;
  for (int epoch = 1; epoch <= options.epochs && accuracy < 0.99; ++epoch) {
    double loss = 0, norm = 0;
    loader.start_epoch(epoch);
    while (const facet::Batch* batch = loader.next()) {
      const double warmup = std::min(1.0, (session.finished_steps() + 1) / 8.0);
      loss = session.step(*batch, {.learning_rate = warmup * options.learning_rate}).heads[0].loss;
    }
    for (const float element : session.gradient("logits.weight")) norm += element * element;
    accuracy = session.evaluate(validation)[0].accuracy;
    session.keep_if_best(accuracy);
    std::printf("epoch %d: loss %.4f, gradient norm %.4f, accuracy %.3f\n", epoch, loss, std::sqrt(norm), accuracy);
  }
  session.restore_best();
  session.save("squares.safetensors");
  std::vector<std::uint8_t> pixels(12 * 24 * 3);
  validation.load({.index = 1, .size = size}, pixels);
  const int predicted = session.predictor().predict(pixels)[0].predicted[0];
  std::printf("best accuracy %.3f; image 1: %s\n", *session.best_score(), info.heads[0].classes[predicted].c_str());
  return *session.best_score() >= 0.95 && predicted == 1 ? 0 : 1;
}
