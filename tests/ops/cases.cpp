#include <fstream>
#include <map>
#include <stdexcept>

#include "ops/network.h"

namespace facet::testing {
namespace {

using nlohmann::json;

std::vector<Value> inputs_of(const json& op, const std::map<std::string, Value>& values, Value previous) {
  if (!op.contains("from")) return {previous};
  std::vector<Value> inputs;
  for (const json& name : op["from"]) inputs.push_back(values.at(name.get<std::string>()));
  return inputs;
}

PoolOptions pool_options(const json& op) {
  return {.kernel = op.at("kernel"),
          .stride = op.value("stride", std::int64_t{0}),
          .padding = op.value("padding", std::int64_t{0}),
          .count_include_pad = op.value("count_include_pad", true)};
}

LossKind loss_kind(const json& head) {
  const std::string loss = head.value("loss", "softmax_cross_entropy");
  if (loss == "binary_cross_entropy") return LossKind::binary_cross_entropy;
  if (loss == "mean_squared_error") return LossKind::mean_squared_error;
  if (loss == "coral_loss") return LossKind::coral;
  if (loss == "softmax_cross_entropy") return LossKind::softmax_cross_entropy;
  throw std::invalid_argument("cases.json: unknown loss " + loss);
}

Value apply_op(const json& op, const std::vector<Value>& inputs) {
  const std::string kind = op.at("op");
  Value x = inputs.front();
  if (kind == "convolution") {
    return convolution(x, {.channels = op.at("channels"),
                           .kernel = op.value("kernel", std::int64_t{3}),
                           .stride = op.value("stride", std::int64_t{1}),
                           .padding = op.value("padding", std::int64_t{-1}),
                           .groups = op.value("groups", std::int64_t{1}),
                           .bias = op.value("bias", false),
                           .name = op.value("name", "conv")});
  }
  if (kind == "linear") {
    return linear(x,
                  {.features = op.at("features"), .bias = op.value("bias", true), .name = op.value("name", "linear")});
  }
  if (kind == "batch_norm") {
    return batch_norm(
        x, {.eps = op.value("eps", 1e-5F), .momentum = op.value("momentum", 0.1F), .name = op.value("name", "bn")});
  }
  if (kind == "relu") return relu(x);
  if (kind == "relu6") return relu6(x);
  if (kind == "add") return add(x, inputs.at(1));
  if (kind == "concat") return concat(inputs);
  if (kind == "max_pool") return max_pool(x, pool_options(op));
  if (kind == "average_pool") return average_pool(x, pool_options(op));
  if (kind == "global_average_pool") return global_average_pool(x);
  if (kind == "adaptive_average_pool") {
    return adaptive_average_pool(x, {.height = op.at("height"), .width = op.at("width")});
  }
  if (kind == "flatten") return flatten(x);
  if (kind == "dropout") return dropout(x, op.at("rate"));
  if (kind == "alpha_dropout") return alpha_dropout(x, op.at("rate"));
  throw std::invalid_argument("cases.json: unknown op " + kind);
}

}  // namespace

Graph Case::build() const {
  Graph graph;
  Value x = graph.input({3, table.at("size")[0], table.at("size")[1]});
  std::map<std::string, Value> values{{"input", x}};
  if (const std::int64_t channels = table.at("front"); channels > 0) x = front(x, channels);
  values["front"] = x;
  for (const json& op : table.at("ops")) {
    x = apply_op(op, inputs_of(op, values, x));
    for (const char* key : {"name", "as"})
      if (op.contains(key)) values[op[key].get<std::string>()] = x;
  }
  const json heads = table.value("heads", json::array({{{"name", "head"}, {"classes", 5}}}));
  for (const json& head : heads) {
    const Value y = head.contains("from") ? values.at(head["from"].get<std::string>()) : x;
    add_linear_head(y, head.at("classes"), head.at("name"), loss_kind(head));
  }
  return graph;
}

void Case::scale_front(Parameters& parameters) const {
  if (!table.contains("front_scale")) return;
  const int weight = parameters.find("front.weight");
  std::vector<float> values = parameters.get(weight);
  for (float& value : values) value *= table["front_scale"].get<float>();
  parameters.set(weight, values);
}

std::vector<Case> read_cases(const std::string& op) {
  std::ifstream file(FACET_TEST_CASES);
  const json table = json::parse(file);
  std::vector<Case> cases;
  for (const auto& [kind, list] : table.items()) {
    if (!op.empty() && kind != op) continue;
    for (const json& entry : list) cases.push_back({kind + "." + entry.at("name").get<std::string>(), entry});
  }
  if (cases.empty()) throw std::invalid_argument("cases.json: no case of " + op);
  return cases;
}

}  // namespace facet::testing
