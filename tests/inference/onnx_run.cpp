#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <span>

#include "base/random.h"
#include "facet/inference.h"
#include "facet/onnx.h"
#include "facet/ops.h"
#include "inference/drawn_models.h"
#include "models/heads.h"
#include "testing.h"

namespace facet::testing {
namespace {

constexpr int images = 3;

/// The command that runs ONNX files: ONNX Runtime where Python has it, else OpenCV; empty where neither is installed.
std::vector<std::string> runner() {
  const std::vector<std::string> python{FACET_TEST_PYTHON, "-B", FACET_TEST_SOURCES "/run_onnx.py"};
  if (*FACET_TEST_PYTHON != '\0' &&
      run_program({FACET_TEST_PYTHON, "-c", "import importlib.util as i; exit(not i.find_spec('onnxruntime'))"}) == 0)
    return python;
  if (*FACET_TEST_OPENCV_RUNNER != '\0') return {FACET_TEST_OPENCV_RUNNER};
  return {};
}

/// A graph with features that no model of facet has: a bias before a batch normalisation, averages over padding, a
/// linear layer without bias, channels in groups, an activation with two readers.
Graph other_ops(bool count_include_pad) {
  Graph graph;
  const Value image = graph.input({3, 24, 28});
  const Value x = relu6(batch_norm(convolution(image, {.channels = 8, .stride = 2, .bias = true, .name = "conv1"})));
  const Value left = average_pool(x, {.kernel = 3, .stride = 2, .padding = 1, .count_include_pad = count_include_pad});
  const Value right = average_pool(x, {.kernel = 3, .stride = 2, .padding = 1, .count_include_pad = false});
  const Value both = convolution(concat({left, right}), {.channels = 16, .kernel = 1, .groups = 4, .name = "conv2"});
  const Value pooled = alpha_dropout(flatten(adaptive_average_pool(add(both, both), {.height = 3, .width = 2})));
  for (const Head& head : fairface_heads()) {
    const auto classes = static_cast<std::int64_t>(head.classes.size());
    softmax_cross_entropy(linear(pooled, {.features = classes, .bias = false, .name = head.name}), head.name);
  }
  return graph;
}

/// Exports a model, runs the file on all images and on the first alone, and compares the outputs with facet's.
void check_run(const std::vector<std::string>& program, const DrawnModel& drawn, const OnnxOptions& options) {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder / "model.onnx", kept = folder / "model.safetensors";
  save_model(kept, drawn.info, drawn.parameters);
  export_onnx(file, drawn.info, drawn.graph, drawn.parameters, options);
  const std::vector<std::uint8_t> pixels = drawn_pixels(images, drawn.info.size);
  write_floats(folder / "input", input_of(pixels, drawn.info, options.input));
  std::vector<std::string> words = program;
  words.insert(words.end(), {file.string(), (folder / "input").string(), to_string(drawn.info.size),
                             folder.path().string(), std::to_string(images), "1"});
  REQUIRE(run_program(words) == 0);

  Predictor predictor(kept, drawn.build(), {.batch = images, .threads = 2});
  const std::vector<HeadPrediction>& predictions = predictor.predict(pixels);
  for (std::size_t head = 0; head < drawn.info.heads.size(); ++head) {
    CAPTURE(drawn.info.heads[head].name);
    const std::span<const float> expected =
        options.softmax ? predictions[head].probabilities : predictions[head].logits;
    const std::string name = std::to_string(head);
    check_close(read_floats(folder / (name + "." + std::to_string(images))), expected);
    check_close(read_floats(folder / (name + ".1")), expected.first(expected.size() / images));
  }
}

}  // namespace

TEST_CASE("ONNX files give facet's logits in another program: every model, folded and not, one image and several") {
  const std::vector<std::string> program = runner();
  if (program.empty()) {
    MESSAGE("SKIPPED: neither ONNX Runtime for Python nor OpenCV's dnn module is installed");
    return;
  }
  for (const auto& [model, size] : all_models()) {
    CAPTURE(model);
    const DrawnModel drawn(model, size);
    check_run(program, drawn, {.fold_batch_norm = true});
    check_run(program, drawn, {.fold_batch_norm = false});
  }
}

TEST_CASE("ONNX files support every op, and normalise pixels and give probabilities on request") {
  const std::vector<std::string> program = runner();
  if (program.empty()) return;
  const bool by_opencv = program.front() == FACET_TEST_OPENCV_RUNNER;  // OpenCV's averages never count padding
  const DrawnModel drawn([=] { return other_ops(!by_opencv); });
  check_run(program, drawn, {.input = OnnxInput::unit});
  check_run(program, drawn, {.input = OnnxInput::pixels, .fold_batch_norm = false, .softmax = true});
}

TEST_CASE("ONNX files of ordinal heads give facet's logits and probabilities, with biases in any order") {
  const std::vector<std::string> program = runner();
  if (program.empty()) return;
  std::vector<Head> heads = fairface_heads();
  heads[0].ordinal = true;
  const DrawnModel drawn("resnet18", 40, heads);
  const std::vector<float> biases = drawn.parameters.get(drawn.parameters.find("heads." + heads[0].name + ".bias"));
  CHECK(!std::ranges::is_sorted(biases, std::greater()));
  check_run(program, drawn, {});
  check_run(program, drawn, {.softmax = true});
}

}  // namespace facet::testing
