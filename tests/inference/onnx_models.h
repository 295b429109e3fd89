#pragma once

#include <functional>
#include <string>
#include <vector>

#include "facet/graph.h"
#include "facet/model_file.h"
#include "facet/parameters.h"

namespace facet::testing {

/// A model whose weights keep the scale of what goes through it, and whose batch normalisations all do something.
struct DrawnModel {
  std::function<Graph()> build;
  Graph graph;
  ModelInfo info;
  Parameters parameters;

  DrawnModel(const std::string& model, int size);
  /// Of a graph that no model of facet's is, with the heads of fairface_heads.
  explicit DrawnModel(std::function<Graph()> builder);
};

/// Every model that facet has, as small as still has all its ops; alexnet in the size of its paper and in one whose
/// pooling has windows of several sizes.
struct ModelSize {
  const char* model;
  int size;
};
const std::vector<ModelSize>& all_models();

/// Runs a program of these words; returns its exit status.
int run_program(const std::vector<std::string>& words);

}  // namespace facet::testing
