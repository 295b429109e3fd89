#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "facet/error.h"
#include "facet/models.h"
#include "facet/precision.h"
#include "models/heads.h"
#include "reference/reference_file.h"

namespace facet::testing {
namespace {

/// Bounds of facet's difference from PyTorch, relative to the tensor's rms.
struct Bounds {
  double logits, gradient;
};
constexpr Bounds f32_bounds{1e-4, 1e-3};
/// bf16 has 8 significant bits: rounding errors accumulate over the layers and move values over kinks, which adds or
/// removes whole gradients. PyTorch's own bf16 (autocast) has errors as large: up to 0.44 in gradients of resnet50 and
/// of densenet121.
constexpr Bounds bf16_bounds{0.06, 0.75};

/// The weights of make_torchvision_references.py's draw_by_formula.
std::vector<float> draw_by_formula(const Shape& shape, std::uint32_t index) {
  const std::int64_t count = element_count(shape);
  const auto bound = static_cast<float>(std::sqrt(6.0 / static_cast<double>(count / shape[0])));
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint32_t bits = static_cast<std::uint32_t>(i) * 0x9E3779B1U + index * 0x51ED270BU;
    bits = (bits ^ bits >> 16) * 0x85EBCA6BU;
    bits = (bits ^ bits >> 13) * 0xC2B2AE35U;
    bits ^= bits >> 16;
    values[i] = (static_cast<float>(bits >> 8) * 0x1p-23F - 1.0F) * bound;
  }
  return values;
}

/// The elements of a gradient that make_torchvision_references.py writes.
std::vector<float> sampled(const std::vector<float>& gradient) {
  constexpr std::size_t max_elements = 4096;
  std::size_t step = (gradient.size() + max_elements - 1) / max_elements;
  while (step % 2 == 0 || step % 3 == 0) ++step;
  std::vector<float> values;
  for (std::size_t i = 0; i < gradient.size(); i += step) values.push_back(gradient[i]);
  return values;
}

Graph build_frozen(const std::string& model, int size, const std::vector<std::string>& freeze) {
  Graph graph = build_model(model, {.heads = fairface_heads(), .size = size, .dropout = false});
  for (const std::string& pattern : freeze) graph.freeze(pattern);
  return graph;
}

/// A model with the images, labels and weights of torchvision's results.
class Peer {
 public:
  /// @param file the name of the results' file; empty: the model's name
  explicit Peer(const std::string& model, const std::string& file = {}, const std::vector<std::string>& freeze = {})
      : file_(file.empty() ? model : file),
        problem_{build_frozen(model, static_cast<int>(file_.shape("pixels").at(1)), freeze),
                 file_.shape("pixels").at(0), file_.pixels(), file_.labels()},
        parameters_(problem_.graph, 1) {}

  void load_weights() {
    for (std::size_t i = 0; i < parameters_.list().size(); ++i) {
      const Parameter& parameter = parameters_.list()[i];
      const auto index = static_cast<int>(i);
      parameters_.set(index, parameter.shape.size() > 1
                                 ? draw_by_formula(parameter.shape, static_cast<std::uint32_t>(i))
                             : parameter.shape.empty() ? std::vector<float>{0}
                                                       : file_.read("weight." + parameter.name));
    }
  }

  Session session(program::Mode mode, Precision precision = Precision::f32,
                  const optim::Optimizer* optimizer = nullptr) {
    program::ProgramOptions options = model_options(problem_.batch, mode);
    options.precision = precision;
    options.optimizer = optimizer;
    return {problem_.graph, parameters_, options};
  }

  const ReferenceFile& file() const { return file_; }
  const Problem& problem() const { return problem_; }
  const Parameters& parameters() const { return parameters_; }

  /// Checks every head's logits. The error of a head whose logits nearly cancel is relative to half of the largest
  /// head's rms: all heads read the same features.
  void check_logits(const Session& session, const std::string& kind, double bound) const {
    double largest = 0;
    for (const auto& head : problem_.graph.heads())
      largest = std::max(largest, rms(file_.read(kind + "." + head.name)));
    for (std::size_t i = 0; i < problem_.graph.heads().size(); ++i) {
      const std::string& head = problem_.graph.heads()[i].name;
      const std::vector<float> expected = file_.read(kind + "." + head);
      const Difference error = difference(session.logits(static_cast<int>(i)), expected, 0.5 * largest);
      CHECK_MESSAGE(error.rms <= bound, kind, " of ", head, ": rms error ", error.rms);
    }
  }

 private:
  ReferenceFile file_;
  Problem problem_;
  Parameters parameters_;
};

/// Checks every parameter's gradient. The error of one that nearly cancels, because a later normalisation undoes the
/// parameter's effect, is relative to the network's largest gradient.
void check_gradients(const Peer& peer, const Session& session, double bound) {
  double largest = 0;
  for (const Parameter& parameter : peer.parameters().list())
    if (parameter.is_trained()) largest = std::max(largest, rms(peer.file().read("gradient." + parameter.name)));
  for (const Parameter& parameter : peer.parameters().list()) {
    if (!parameter.is_trained()) {
      CHECK_THROWS_AS(session.gradient(parameter.name), Error);
      continue;
    }
    const std::vector<float> expected = peer.file().read("gradient." + parameter.name);
    const Difference error = difference(sampled(session.gradient(parameter.name)), expected, 0.01 * largest);
    CHECK_MESSAGE(error.rms <= bound, parameter.name, ": rms error ", error.rms);
  }
}

void check_statistics(const Peer& peer) {
  const std::vector<Parameter>& list = peer.parameters().list();
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (!peer.file().has("after." + list[i].name)) continue;
    const std::vector<float> after = peer.parameters().get(static_cast<int>(i));
    CHECK_MESSAGE(difference(after, peer.file().read("after." + list[i].name)).rms <= f32_bounds.logits, list[i].name);
  }
}

/// Checks evaluation, then a training step.
void check_step(Peer& peer, Precision precision, const Bounds& bounds) {
  CAPTURE(to_string(precision));
  peer.load_weights();
  Session evaluation = peer.session(program::Mode::inference, precision);
  evaluation.run(peer.problem());
  peer.check_logits(evaluation, "evaluated", bounds.logits);

  Session training = peer.session(program::Mode::gradients, precision);
  const double expected = peer.file().read("loss").at(0);
  CHECK(std::abs(training.run(peer.problem()) - expected) <= bounds.logits * expected);
  peer.check_logits(training, "logits", bounds.logits);
  check_gradients(peer, training, bounds.gradient);
}

/// Checks ten steps on one batch.
void check_steps(Peer& peer, const std::string& rule, const optim::Optimizer& optimizer) {
  peer.load_weights();
  Session session = peer.session(program::Mode::training, Precision::f32, &optimizer);
  const std::vector<float> expected = peer.file().read(rule + ".losses");
  const float learning_rate = peer.file().read(rule + ".learning_rate").at(0);
  REQUIRE(expected.size() == 10);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double loss = session.run(peer.problem(), static_cast<std::int64_t>(i) + 1, learning_rate);
    // Relative to the first loss: the last losses are a tenth of it, and have the rounding errors of all steps before.
    CHECK_MESSAGE(std::abs(loss - expected[i]) <= 1e-3 * expected[0], "step ", i, ": loss ", loss, ", PyTorch's ",
                  expected[i]);
  }
  CHECK(expected.back() < expected.front());
}

void check_steps(const std::string& model, const std::string& rule, const optim::Optimizer& optimizer) {
  if (!ReferenceFile(model).has(rule + ".losses")) return;
  CAPTURE(rule);
  Peer peer(model);  // a new one: parameters keep one optimiser's state
  check_steps(peer, rule, optimizer);
}

/// Checks a model with the parts frozen that make_frozen_references.py freezes.
void check_frozen(const std::string& model, const std::string& kind, const std::vector<std::string>& freeze) {
  if (!have_references("frozen_references.json")) return;
  Peer peer(model, model + "." + kind, freeze);
  check_step(peer, Precision::f32, f32_bounds);
  check_statistics(peer);
  if (has_native_bf16()) check_step(peer, Precision::bf16, bf16_bounds);
  const auto sgd = optim::sgd({.momentum = 0.9, .groups = {.weight_decay = 0.01}});
  Peer stepping(model, model + "." + kind, freeze);
  check_steps(stepping, "sgd", *sgd);
}

void check_model(const std::string& name) {
  if (!have_references("torchvision_references.json")) return;
  Peer peer(name);
  check_step(peer, Precision::f32, f32_bounds);
  check_statistics(peer);
  if (has_native_bf16()) check_step(peer, Precision::bf16, bf16_bounds);
  check_steps(name, "adam", *optim::adam());
  check_steps(name, "sgd", *optim::sgd({.momentum = 0.9}));
}

}  // namespace

TEST_CASE("models: tensors have torchvision's names, shapes and order") {
  if (!have_references("torchvision_references.json")) return;
  std::ifstream file(reference_folder() / "models.json");
  const auto models = nlohmann::json::parse(file);
  for (const std::string& name : model_names()) {
    if (name == "reference") continue;
    CAPTURE(name);
    const Graph graph = build_model(name, {.heads = {head("label", 1000)}});
    auto tensors = nlohmann::json::array();
    for (const Parameter& p : graph.parameters()) tensors.push_back({{"name", p.name}, {"shape", p.shape}});
    REQUIRE(tensors.size() == models.at(name).size());
    for (std::size_t i = 0; i < tensors.size(); ++i) CHECK(tensors[i].dump() == models.at(name)[i].dump());
  }
}

TEST_CASE("resnet18 against torchvision's") { check_model("resnet18"); }
TEST_CASE("resnet34 against torchvision's") { check_model("resnet34"); }
TEST_CASE("resnet50 against torchvision's") { check_model("resnet50"); }
TEST_CASE("densenet121 against torchvision's") { check_model("densenet121"); }
TEST_CASE("densenet161 against torchvision's") { check_model("densenet161"); }
TEST_CASE("alexnet against torchvision's") { check_model("alexnet"); }
TEST_CASE("resnet18 with its first stages frozen against torchvision's") {
  check_frozen("resnet18", "low", {"conv1.*", "bn1.*", "layer1.*", "layer2.0.*"});
}
TEST_CASE("resnet18 with a stage in its middle frozen against torchvision's") {
  check_frozen("resnet18", "middle", {"layer2.*", "layer3.0.bn2.weight", "heads.gender.*"});
}
TEST_CASE("densenet121 with its first blocks and a part of another frozen against torchvision's") {
  check_frozen("densenet121", "low",
               {"features.conv0.*", "features.norm0.*", "features.denseblock[12].*", "features.transition1.*",
                "features.denseblock3.denselayer[1-9].*"});
}
TEST_CASE("mobilenet_v2 against torchvision's") { check_model("mobilenet_v2"); }

}  // namespace facet::testing
