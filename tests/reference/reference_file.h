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

/// Where PyTorch's results are.
std::filesystem::path reference_folder();
/// Whether the script that leaves `mark` (make_references.py, make_torchvision_references.py) has run here; otherwise says in
/// a line that begins with SKIPPED: that it hasn't.
bool have_references(const std::string& mark = "references.json");

/// What PyTorch computed for one case.
class ReferenceFile {
 public:
  /// @throws Error when there is no such file: the references are made of another table.
  explicit ReferenceFile(const std::string& name);

  bool has(const std::string& tensor) const { return reader_.find(tensor) != nullptr; }
  std::vector<float> read(const std::string& tensor) const;
  Shape shape(const std::string& tensor) const;
  std::vector<std::uint8_t> pixels() const;
  std::vector<std::int32_t> labels() const;
  /// Sets all parameters but num_batches_tracked; none may be left over on either side.
  /// @throws Error when one is.
  void load_weights(Parameters& parameters) const;

 private:
  formats::SafetensorsReader reader_;
};

/// How far a tensor is from PyTorch's, as shares of PyTorch's rms.
struct Difference {
  double rms = 0, largest = 0;
};
/// @param floor least rms to take shares of.
Difference difference(const std::vector<float>& values, const std::vector<float>& expected, double floor = 0);

/// The reference model without dropout, with heads of 9, 2 and 7 classes.
Graph reference_without_dropout(int size);

/// Its programs' options: ImageNet's normalisation.
program::ProgramOptions model_options(std::int64_t batch, program::Mode mode);

}  // namespace facet::testing
