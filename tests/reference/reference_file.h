#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "facet/graph.h"
#include "facet/parameters.h"
#include "formats/safetensors.h"
#include "ops/network.h"

namespace facet::testing {

/// The folder of PyTorch's results.
std::filesystem::path reference_folder();
/// Whether the script that writes the file `mark` (make_references.py, make_torchvision_references.py) has run;
/// otherwise prints a line that begins with SKIPPED:.
bool have_references(const std::string& mark = "references.json");

/// PyTorch's results for one case.
class ReferenceFile {
 public:
  /// @throws Error when there is no such file: the references were computed for another table.
  explicit ReferenceFile(const std::string& name);

  bool has(const std::string& tensor) const { return reader_.find(tensor) != nullptr; }
  std::vector<float> read(const std::string& tensor) const;
  Shape shape(const std::string& tensor) const;
  std::vector<std::uint8_t> pixels() const;
  std::vector<std::int32_t> labels() const;
  /// The target values of the graph's heads that have any.
  std::vector<std::vector<float>> targets(const Graph& graph) const;
  /// Sets all parameters except num_batches_tracked.
  /// @throws Error when the file or the graph has a weight that the other lacks.
  void load_weights(Parameters& parameters) const;

 private:
  formats::SafetensorsReader reader_;
};

/// A tensor's difference from PyTorch's, relative to the rms of PyTorch's.
struct Difference {
  double rms = 0, largest = 0;
};
/// @param floor the smallest rms that the difference is divided by.
Difference difference(const std::vector<float>& values, const std::vector<float>& expected, double floor = 0);

/// The reference model without dropout, with heads of 9, 2 and 7 classes.
Graph reference_without_dropout(int size);

/// The options of its programs, with ImageNet's normalisation.
program::ProgramOptions model_options(std::int64_t batch, program::Mode mode);

}  // namespace facet::testing
