#include "reference/reference_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "facet/error.h"
#include "facet/models.h"
#include "models/heads.h"
#include "ops/network.h"

namespace facet::testing {

namespace {

template <class Integer>
std::vector<Integer> integers(const std::vector<float>& values) {
  std::vector<Integer> result(values.size());
  std::transform(values.begin(), values.end(), result.begin(), [](float value) { return static_cast<Integer>(value); });
  return result;
}

}  // namespace

std::filesystem::path reference_folder() { return FACET_TEST_REFERENCES; }

bool have_references(const std::string& mark) {
  if (std::filesystem::exists(reference_folder() / mark)) return true;
  std::puts("SKIPPED: PyTorch's results aren't there: it isn't installed, or the script that computes them hasn't run");
  return false;
}

ReferenceFile::ReferenceFile(const std::string& name) : reader_(reference_folder() / (name + ".safetensors")) {}

std::vector<float> ReferenceFile::read(const std::string& tensor) const {
  const formats::TensorEntry* entry = reader_.find(tensor);
  if (entry == nullptr) throw Error(fmt::format("{}: no tensor {}", reader_.name(), tensor));
  return reader_.read_f32(*entry);
}

Shape ReferenceFile::shape(const std::string& tensor) const {
  const formats::TensorEntry* entry = reader_.find(tensor);
  if (entry == nullptr) throw Error(fmt::format("{}: no tensor {}", reader_.name(), tensor));
  return entry->shape;
}

std::vector<std::uint8_t> ReferenceFile::pixels() const { return integers<std::uint8_t>(read("pixels")); }
std::vector<std::int32_t> ReferenceFile::labels() const { return integers<std::int32_t>(read("labels")); }

std::vector<std::vector<float>> ReferenceFile::targets(const Graph& graph) const {
  std::vector<std::vector<float>> targets;
  for (const HeadOutput& head : graph.heads()) {
    targets.emplace_back();
    if (has("targets." + head.name)) targets.back() = read("targets." + head.name);
  }
  return targets;
}

void ReferenceFile::load_weights(Parameters& parameters) const {
  std::size_t loaded = 0;
  for (std::size_t i = 0; i < parameters.list().size(); ++i) {
    const Parameter& parameter = parameters.list()[i];
    if (parameter.type != DataType::f32) continue;
    parameters.set(static_cast<int>(i), reader_.read_f32(reader_.require("weight." + parameter.name, parameter.shape)));
    ++loaded;
  }
  const auto stored = std::count_if(reader_.tensors().begin(), reader_.tensors().end(),
                                    [](const auto& tensor) { return tensor.name.rfind("weight.", 0) == 0; });
  if (static_cast<std::size_t>(stored) != loaded) {
    throw Error(fmt::format("{}: {} weights found; the graph has {}", reader_.name(), stored, loaded));
  }
}

Difference difference(const std::vector<float>& values, const std::vector<float>& expected, double floor) {
  const double scale = std::max(rms(expected), floor), error = rms_difference(values, expected);
  if (error == 0) return {};
  return {error / scale, max_difference(values, expected) / scale};
}

Graph reference_without_dropout(int size) {
  return reference({.heads = fairface_heads(), .size = size, .dropout = false});
}

program::ProgramOptions model_options(std::int64_t batch, program::Mode mode) {
  return {.batch = batch, .mode = mode, .mean = {0.485F, 0.456F, 0.406F}, .std = {0.229F, 0.224F, 0.225F}};
}

}  // namespace facet::testing
