#include "inference/drawn_models.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "base/random.h"
#include "facet/models.h"
#include "testing.h"

namespace facet::testing {
namespace {

double rms(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

}  // namespace

DrawnModel::DrawnModel(const std::string& model, ImageSize size, const std::vector<Head>& heads)
    : DrawnModel([=] { return build_model(model, {.heads = heads, .size = size}); }, heads) {
  info.model = model;
}

DrawnModel::DrawnModel(std::function<Graph()> builder, const std::vector<Head>& heads)
    : build(std::move(builder)), graph(build()), parameters(graph, 1) {
  info.model = "own";
  info.size = {static_cast<int>(graph.input_shape()[1]), static_cast<int>(graph.input_shape()[2])};
  info.heads = heads;
  base::RandomStream random(7, base::Purpose::synthesis, 0);
  const auto draw = [&](int index, float low, float high) {
    std::vector<float> values(static_cast<std::size_t>(element_count(parameters.list()[index].shape)));
    for (float& value : values) value = random.uniform(low, high);
    parameters.set(index, values);
  };
  for (int i = 0; i < static_cast<int>(parameters.list().size()); ++i) {
    const Parameter& parameter = parameters.list()[i];
    const bool is_scale = parameter.name.ends_with("weight") || parameter.name.ends_with("running_var");
    if (parameter.shape.size() > 1) {  // He et al.'s, as a uniform draw
      const auto fan = static_cast<float>(element_count(parameter.shape) / parameter.shape[0]);
      draw(i, -std::sqrt(6 / fan), std::sqrt(6 / fan));
    } else if (parameter.type == DataType::f32 && is_scale) {
      draw(i, 0.6F, 1.2F);
    } else if (parameter.type == DataType::f32) {
      draw(i, -0.2F, 0.2F);
    }
  }
}

const std::vector<ModelSize>& all_models() {
  static const std::vector<ModelSize> models{{"reference", 32},         {"reference", {48, 32}}, {"resnet18", {40, 72}},
                                             {"resnet34", 40},          {"resnet50", 40},        {"densenet121", 40},
                                             {"densenet161", 40},       {"alexnet", 224},        {"alexnet", {96, 130}},
                                             {"mobilenet_v2", {56, 40}}};
  return models;
}

std::vector<std::uint8_t> drawn_pixels(int images, ImageSize size) {
  base::RandomStream random(5, base::Purpose::synthesis, 1);
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(images) * 3 *
                                   static_cast<std::size_t>(size.height * size.width));
  for (std::uint8_t& value : pixels) value = static_cast<std::uint8_t>(random.below(256));
  return pixels;
}

std::vector<float> input_of(const std::vector<std::uint8_t>& pixels, const ModelInfo& info, OnnxInput kind) {
  const std::size_t area = static_cast<std::size_t>(info.size.height) * info.size.width;
  std::vector<float> input(pixels.size());
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    const std::size_t channel = i % 3;
    const float unit = static_cast<float>(pixels[i]) / 255;
    float& value = input[(i / 3 / area * 3 + channel) * area + i / 3 % area];
    value = kind == OnnxInput::pixels ? pixels[i]
            : kind == OnnxInput::unit ? unit
                                      : (unit - info.normalization.mean[channel]) / info.normalization.std[channel];
  }
  return input;
}

void write_floats(const std::filesystem::path& file, const std::vector<float>& values) {
  write_file(file, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
}

std::vector<float> read_floats(const std::filesystem::path& file) {
  const std::string bytes = read_file(file);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::copy_n(bytes.data(), values.size() * sizeof(float), reinterpret_cast<char*>(values.data()));
  return values;
}

void check_close(std::span<const float> found, std::span<const float> expected) {
  REQUIRE(found.size() == expected.size());
  std::vector<float> differences(found.size());
  for (std::size_t i = 0; i < differences.size(); ++i) differences[i] = found[i] - expected[i];
  CHECK(rms(expected) > 0);
  CHECK(rms(differences) <= 1e-4 * rms(expected));
}

int run_program(const std::vector<std::string>& words) {
  std::string command;
  for (const std::string& word : words) command += "\"" + word + "\" ";
  return std::system(command.c_str());
}

}  // namespace facet::testing
