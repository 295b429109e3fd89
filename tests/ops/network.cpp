#include "ops/network.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "base/parallel.h"
#include "base/random.h"
#include "program/parameter_store.h"

namespace facet::testing {

std::vector<std::uint8_t> random_pixels(std::int64_t pixels, std::uint64_t seed, int colours) {
  base::RandomStream random(seed, base::Purpose::synthesis);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(pixels) * 3);
  if (colours == 0) {
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random.below(256));
    return bytes;
  }
  std::vector<std::array<std::uint8_t, 3>> palette(static_cast<std::size_t>(colours));
  for (auto& colour : palette)
    for (std::uint8_t& byte : colour) byte = static_cast<std::uint8_t>(random.below(256));
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto& colour = palette[random.below(static_cast<std::uint32_t>(colours))];
    std::copy(colour.begin(), colour.end(), bytes.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return bytes;
}

std::vector<std::int32_t> random_labels(const Graph& graph, std::int64_t batch, std::uint64_t seed) {
  base::RandomStream random(seed, base::Purpose::synthesis, 1);
  std::vector<std::int32_t> labels;
  for (const HeadOutput& head : graph.heads())
    for (std::int64_t i = 0; i < batch; ++i)
      labels.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(head.classes))));
  return labels;
}

std::vector<std::vector<float>> random_targets(const Graph& graph, std::int64_t batch, std::uint64_t seed,
                                               double missing) {
  base::RandomStream random(seed, base::Purpose::synthesis, 3);
  std::vector<std::vector<float>> targets;
  for (const HeadOutput& head : graph.heads()) {
    targets.emplace_back();
    const bool binary = head.kind == LossKind::binary_cross_entropy;
    if (!binary && head.kind != LossKind::mean_squared_error) continue;
    for (std::int64_t i = 0; i < batch * head.classes; ++i) {
      const float value = binary ? random.uniform() : random.normal();
      targets.back().push_back(random.uniform() < missing ? std::numeric_limits<float>::quiet_NaN() : value);
    }
  }
  return targets;
}

void add_linear_head(Value x, std::int64_t classes, const std::string& name, LossKind kind) {
  if (x.shape().size() == 3) x = flatten(x);
  if (kind == LossKind::coral) {
    coral_loss(coral(x, {.classes = classes, .name = name}), name);
    return;
  }
  const Value logits = linear(x, {.features = classes, .name = name});
  if (kind == LossKind::binary_cross_entropy) {
    binary_cross_entropy(logits, name);
  } else if (kind == LossKind::mean_squared_error) {
    mean_squared_error(logits, name);
  } else {
    softmax_cross_entropy(logits, name);
  }
}

Value front(Value x, std::int64_t channels, std::int64_t kernel) {
  return convolution(x, {.channels = channels, .kernel = kernel, .bias = true, .name = "front"});
}

Problem make_problem(const Body& body, const ProblemOptions& options) {
  Problem problem;
  problem.batch = options.batch;
  add_linear_head(body(problem.graph.input({3, options.height, options.width})), options.classes, "head");
  problem.pixels = random_pixels(options.batch * options.height * options.width, options.seed, options.colours);
  problem.labels = random_labels(problem.graph, options.batch, options.seed);
  return problem;
}

Problem with_frozen(const Problem& problem, const std::string& parameter) {
  Problem frozen = problem;
  frozen.graph.freeze(parameter);
  return frozen;
}

Parameters random_parameters(const Graph& graph, std::uint64_t seed) {
  Parameters parameters(graph, seed);
  for (std::size_t i = 0; i < parameters.list().size(); ++i) {
    const Parameter& parameter = parameters.list()[i];
    if (parameter.type != DataType::f32 || parameter.initializer.kind != Initializer::Kind::constant) continue;
    base::RandomStream random(seed, base::Purpose::synthesis, 2, base::hash(parameter.name));
    std::vector<float> values = parameters.get(static_cast<int>(i));
    for (float& value : values) value += random.uniform(-0.5F, 0.5F);
    parameters.set(static_cast<int>(i), values);
  }
  return parameters;
}

void make_identity(Parameters& parameters, const std::string& name) {
  const int weight = parameters.find(name + ".weight"), bias = parameters.find(name + ".bias");
  const auto count = static_cast<std::size_t>(parameters.list()[static_cast<std::size_t>(bias)].shape.at(0));
  std::vector<float> identity(count * count);
  for (std::size_t i = 0; i < count; ++i) identity[i * count + i] = 1;
  parameters.set(weight, identity);
  parameters.set(bias, std::vector<float>(count));
}

std::vector<std::vector<float>> snapshot(const Parameters& parameters) {
  std::vector<std::vector<float>> values;
  for (std::size_t i = 0; i < parameters.list().size(); ++i) values.push_back(parameters.get(static_cast<int>(i)));
  return values;
}

Session::Session(const Graph& graph, Parameters& parameters, const program::ProgramOptions& options,
                 program::TuningRecord tuning_record, int threads)
    : parameters_(parameters), threads_(threads), tuning_record_(std::move(tuning_record)) {
  const base::ComputeScope scope(threads_);
  // As training does: the parameters are placed for the step, unless another program uses them already.
  if (options.mode == program::Mode::training && parameters.state().plan.use_count() == 1) {
    program::LayoutPlan plan = program::plan_layouts(graph, options, tuning_record_);
    if (options.average != nullptr) options.average->state().place(program::without_bf16_copies(plan));
    parameters.state().place(std::move(plan));
  }
  program_ = std::make_unique<program::Program>(graph, parameters, options, tuning_record_);
  arena_.grow(program_->arena_bytes());
  program_->bind(arena_);
}

double Session::run(const Problem& problem, std::int64_t step, float learning_rate) {
  const base::ComputeScope scope(threads_);
  program_->run({.pixels = problem.pixels.data(),
                 .labels = problem.labels.empty() ? nullptr : problem.labels.data(),
                 .targets = problem.targets,
                 .step = step,
                 .learning_rate = learning_rate});
  double loss = 0;
  for (const program::HeadView& head : program_->heads())
    if (head.sums.labelled > 0) loss += head.sums.loss / static_cast<double>(head.sums.labelled);
  return loss;
}

std::vector<float> Session::logits(int head) const {
  const auto view = program_->heads()[static_cast<std::size_t>(head)].logits;
  return {view.begin(), view.end()};
}

std::vector<float> Session::gradient(const std::string& parameter) const {
  return program_->gradient(parameters_.find(parameter));
}

program::TuningRecord prefer(const std::string& candidate, const Graph& graph, Parameters& parameters,
                             const program::ProgramOptions& options, int threads) {
  const base::ComputeScope scope(threads);
  program::TuningRecord preferred(false);
  for (int added = 1; added > 0;) {  // an op's candidate may change the layout of the next op's input, and so its key
    program::TuningRecord tried = preferred;
    const program::Program compiled(graph, parameters, options, tried);
    added = 0;
    for (const auto& [key, chosen] : tried.all()) {
      if (!preferred.find(key).empty()) continue;
      preferred.record(key, candidate);
      ++added;
    }
  }
  return preferred;
}

Session gradient_session(const Problem& problem, Parameters& parameters, Precision precision, int threads) {
  return {problem.graph,
          parameters,
          {.batch = problem.batch,
           .precision = precision,
           .mode = program::Mode::gradients,
           .mean = {0.5F, 0.5F, 0.5F},
           .std = {0.3F, 0.3F, 0.3F}},
          program::TuningRecord(false),
          threads};
}

Session inference_session(const Problem& problem, Parameters& parameters, Precision precision) {
  return {problem.graph,
          parameters,
          {.batch = problem.batch,
           .precision = precision,
           .mode = program::Mode::inference,
           .mean = {0.5F, 0.5F, 0.5F},
           .std = {0.3F, 0.3F, 0.3F}}};
}

double rms(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return values.empty() ? 0 : std::sqrt(sum / static_cast<double>(values.size()));
}

double rms_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) throw std::invalid_argument("tensors of different sizes");
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - b[i], 2);
  return a.empty() ? 0 : std::sqrt(sum / static_cast<double>(a.size()));
}

double max_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) throw std::invalid_argument("tensors of different sizes");
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
    if (!(difference <= largest)) largest = difference;
    if (std::isnan(difference)) return std::numeric_limits<double>::infinity();
  }
  return largest;
}

}  // namespace facet::testing
