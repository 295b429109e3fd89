#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "facet/graph.h"
#include "facet/model_file.h"
#include "facet/parameters.h"
#include "formats/safetensors.h"

namespace facet::formats {

/// Pretrained weights that are opened and matched with a model's parameters, so that a mismatch is reported before
/// other work begins.
class Pretrained {
 public:
  /// @throws Error as load_pretrained does, except for the errors that concern values.
  Pretrained(const std::filesystem::path& file, const Graph& graph, const std::vector<Head>& heads,
             const HeadSplit& split);

  const PretrainedWeights& found() const { return found_; }
  /// Loads the weights into parameters of the graph for which they were opened. @throws Error naming the file and the
  /// tensor whose values can't be read, are non-finite or are negative variances.
  void load(Parameters& parameters) const;

 private:
  /// Chooses a source for each parameter. @throws Error naming the file and what doesn't fit.
  void match(const std::vector<Parameter>& parameters, bool has_shape);
  /// Returns one line about what was taken and what wasn't.
  std::string summarize(const std::string& unused_rows, const std::string& layer) const;

  std::string name_;
  std::vector<TensorSource> sources_;
  std::vector<int> taken_;  ///< the index of each parameter's source; -1: none
  PretrainedWeights found_;
};

}  // namespace facet::formats
