#include "inference/onnx_models.h"

#include <cmath>
#include <cstdlib>
#include <utility>

#include "base/random.h"
#include "facet/models.h"
#include "models/heads.h"

namespace facet::testing {

DrawnModel::DrawnModel(const std::string& model, int size)
    : DrawnModel([=] { return build_model(model, {.heads = fairface_heads(), .size = size}); }) {
  info.model = model;
}

DrawnModel::DrawnModel(std::function<Graph()> builder)
    : build(std::move(builder)), graph(build()), parameters(graph, 1) {
  info.model = "own";
  info.size = static_cast<int>(graph.input_shape()[1]);
  info.heads = fairface_heads();
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
  static const std::vector<ModelSize> models{{"reference", 32}, {"resnet18", 40},    {"resnet34", 40},
                                             {"resnet50", 40},  {"densenet121", 40}, {"densenet161", 40},
                                             {"alexnet", 224},  {"alexnet", 96},     {"mobilenet_v2", 40}};
  return models;
}

int run_program(const std::vector<std::string>& words) {
  std::string command;
  for (const std::string& word : words) command += "\"" + word + "\" ";
  return std::system(command.c_str());
}

}  // namespace facet::testing
