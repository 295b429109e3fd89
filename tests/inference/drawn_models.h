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

/// A model with random weights that keep the scale of activations, and with batch normalisations that change them.
struct DrawnModel {
  std::function<Graph()> build;
  Graph graph;
  ModelInfo info;
  Parameters parameters;

  DrawnModel(const std::string& model, ImageSize size, const std::vector<Head>& heads = fairface_heads());
  /// Makes a model of a graph that isn't one of facet's models.
  explicit DrawnModel(std::function<Graph()> builder, const std::vector<Head>& heads = fairface_heads());
};

/// All of facet's models, at small sizes that keep all their ops, square and not; alexnet at its paper's size and at
/// one where its pooling has windows of several sizes.
struct ModelSize {
  const char* model;
  ImageSize size;
};
const std::vector<ModelSize>& all_models();

/// {images, height, width, 3}.
std::vector<std::uint8_t> drawn_pixels(int images, ImageSize size);
/// The input of other programs' models: {images, 3, height, width}, scaled as `kind` says.
std::vector<float> input_of(const std::vector<std::uint8_t>& pixels, const ModelInfo& info, OnnxInput kind);

void write_floats(const std::filesystem::path& file, const std::vector<float>& values);
std::vector<float> read_floats(const std::filesystem::path& file);
/// Checks that another program's logits or probabilities equal facet's, except for rounding in f32.
void check_close(std::span<const float> found, std::span<const float> expected);

/// Runs a command line of these words; returns its exit status.
int run_program(const std::vector<std::string>& words);

}  // namespace facet::testing
