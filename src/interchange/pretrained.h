#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "facet/graph.h"
#include "facet/model_file.h"
#include "facet/parameters.h"
#include "interchange/safetensors.h"

namespace facet::interchange {

/// Weights to begin with, opened and held against a model's parameters, so that what doesn't fit shows before the work
/// begins.
class Pretrained {
 public:
  /// @throws Error as load_pretrained does, but for values.
  Pretrained(const std::filesystem::path& file, const Graph& graph, const std::vector<Head>& heads,
             const HeadSplit& split);

  const PretrainedWeights& found() const { return found_; }
  /// Into parameters of the graph that it was opened for. @throws Error naming the file and tensor whose values can't
  /// be read or aren't finite.
  void load(Parameters& parameters) const;

 private:
  /// Chooses a source for each parameter. @throws Error naming the file and what doesn't fit.
  void match(const std::vector<Parameter>& parameters, bool has_shape);
  /// What was taken and what wasn't, in a line.
  std::string summarize(const std::string& unused_rows, const std::string& layer) const;

  std::string name_;
  std::vector<TensorSource> sources_;
  std::vector<int> taken_;  ///< by parameter: a source; -1: none
  PretrainedWeights found_;
};

}  // namespace facet::interchange
