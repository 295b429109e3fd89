#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "facet/graph.h"
#include "facet/model_file.h"
#include "facet/onnx.h"
#include "facet/parameters.h"
#include "models/heads.h"

namespace facet::testing {

/// A model whose weights keep the scale of what goes through it, and whose batch normalisations all do something.
struct DrawnModel {
  std::function<Graph()> build;
  Graph graph;
  ModelInfo info;
  Parameters parameters;

  DrawnModel(const std::string& model, int size, const std::vector<Head>& heads = fairface_heads());
  /// Of a graph that no model of facet's is.
  explicit DrawnModel(std::function<Graph()> builder, const std::vector<Head>& heads = fairface_heads());
};

/// Every model that facet has, as small as still has all its ops; alexnet in the size of its paper and in one whose
/// pooling has windows of several sizes.
struct ModelSize {
  const char* model;
  int size;
};
const std::vector<ModelSize>& all_models();

/// {images, size, size, 3}.
std::vector<std::uint8_t> drawn_pixels(int images, int size);
/// What other programs' models are fed with: {images, 3, size, size}, as OnnxInput says.
std::vector<float> input_of(const std::vector<std::uint8_t>& pixels, const ModelInfo& info, OnnxInput kind);

void write_floats(const std::filesystem::path& file, const std::vector<float>& values);
std::vector<float> read_floats(const std::filesystem::path& file);
/// Whether another program's logits or probabilities are facet's, but for f32's rounding.
void check_close(std::span<const float> found, std::span<const float> expected);

/// Runs a program of these words; returns its exit status.
int run_program(const std::vector<std::string>& words);

}  // namespace facet::testing
