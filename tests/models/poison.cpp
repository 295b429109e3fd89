#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstddef>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "base/parallel.h"
#include "facet/models.h"
#include "facet/precision.h"
#include "models/heads.h"
#include "ops/network.h"
#include "program/parameter_store.h"

// Runs every model with the arena's dead memory poisoned (Program::poison): an instruction that reads memory before it
// is written, or after its lifetime, gives other bits.

namespace facet::testing {
namespace {

/// A size near the model's smallest one, with another width than height, and odd where the model allows it.
ImageSize size_of(const std::string& model) {
  if (model == "alexnet") return {63, 71};
  return model == "reference" ? ImageSize(32, 16) : ImageSize(33, 29);
}

Problem problem_of(const std::string& model, ImageSize size, std::int64_t batch) {
  Problem problem;
  problem.graph = build_model(model, {.heads = fairface_heads(), .size = size});
  problem.batch = batch;
  problem.pixels = random_pixels(batch * size.height * size.width, 1);
  problem.labels = random_labels(problem.graph, batch, 1);
  problem.labels[1] = -1;
  return problem;
}

/// Hashes of tensors by name, with which several states of a model of 57 million weights are compared.
using Bits = std::map<std::string, std::size_t>;

std::size_t bits_of(std::span<const float> values) {
  return std::hash<std::string_view>()({reinterpret_cast<const char*>(values.data()), values.size_bytes()});
}

/// A program whose runs return hashes of their results.
class PoisonedProgram {
 public:
  PoisonedProgram(const Problem& problem, program::ProgramOptions options, program::TuningRecord tuning_record)
      : problem_(problem), parameters_(problem.graph, 1), start_(snapshot(parameters_)), rule_(optim::adam()) {
    options.optimizer = rule_.get();
    accumulates_ = options.gradient_policy != nullptr && options.gradient_policy->accumulates();
    if (accumulates_) options.average = &average_.emplace(problem.graph, 1);
    options.average_decay = 0.9;
    session_.emplace(problem.graph, parameters_, options, std::move(tuning_record));
  }

  Bits run(std::optional<std::byte> pattern) {
    program::Program& program = session_->program();
    const bool changes = program.options().mode != program::Mode::inference;
    if (changes) restore();
    program.poison(pattern);
    const int batches = accumulates_ ? 2 : 1;
    Bits bits;
    const base::ComputeScope scope(test_threads);
    for (int step = 1; step <= 2; ++step) {
      for (int batch = 0; batch < batches; ++batch) {
        program.run({.pixels = problem_.pixels.data(),
                     .labels = problem_.labels.data(),
                     .step = step,
                     .learning_rate = 1e-3F,
                     .first_image = batch * problem_.batch,
                     .batches_before = batch,
                     .update = batch + 1 == batches});
        for (std::size_t head = 0; head < program.heads().size(); ++head) {
          const program::HeadView& view = program.heads()[head];
          const std::string name = fmt::format("step {} batch {} head {} ", step, batch, head);
          bits[name + "loss"] = std::hash<double>()(view.sums.loss);
          bits[name + "logits"] = bits_of(view.logits);
          bits[name + "probabilities"] = bits_of(view.probabilities);
        }
      }
    }
    for (std::size_t i = 0; changes && i < parameters_.list().size(); ++i) {
      const Parameter& parameter = parameters_.list()[i];
      const int index = static_cast<int>(i);
      bits[parameter.name] = bits_of(parameters_.get(index));
      if (average_) bits["average of " + parameter.name] = bits_of(average_->get(index));
      if (program.options().mode == program::Mode::gradients && parameter.is_trained()) {
        bits["gradient of " + parameter.name] = bits_of(program.gradient(index));
      }
    }
    return bits;
  }

 private:
  /// Restores the initial weights, and clears the update rule's state.
  void restore() {
    Parameters::State& state = parameters_.state();
    for (std::size_t i = 0; i < start_.size(); ++i) {
      parameters_.set(static_cast<int>(i), start_[i]);
    }
    for (const base::PageBuffer& slot : state.slots) std::memset(slot.data(), 0, slot.size());
  }

  const Problem& problem_;
  Parameters parameters_;
  std::optional<Parameters> average_;
  std::vector<std::vector<float>> start_;
  std::unique_ptr<optim::Optimizer> rule_;
  bool accumulates_ = false;
  std::optional<Session> session_;
};

void check_same(const Bits& found, const Bits& expected) {
  CHECK(found.size() == expected.size());
  for (const auto& [name, bits] : expected) {
    const auto other = found.find(name);
    if (other == found.end() || other->second != bits) FAIL_CHECK("other bits: " << name);
  }
}

/// @param tried parameters for the programs that are compiled to find the tuning keys.
/// @param candidate chosen for every op that has it; empty: the defaults.
void check_poisoned(const Problem& problem, Parameters& tried, const program::ProgramOptions& options,
                    const std::string& candidate) {
  program::TuningRecord tuning_record(false);
  if (!candidate.empty()) {
    program::ProgramOptions any = options;
    const auto rule = optim::adam();
    any.optimizer = rule.get();
    tuning_record = prefer(candidate, problem.graph, tried, any);
  }
  PoisonedProgram program(problem, options, tuning_record);
  const Bits expected = program.run(std::nullopt);
  check_same(program.run(std::byte{0xFF}), expected);
  if (candidate.empty()) check_same(program.run(std::byte{0x7F}), expected);
}

program::ProgramOptions options_of(const Problem& problem, Precision precision, program::Mode mode) {
  return {.batch = problem.batch,
          .precision = precision,
          .mode = mode,
          .mean = {0.5F, 0.5F, 0.5F},
          .std = {0.3F, 0.3F, 0.3F},
          .seed = 3};
}

/// The candidates of all ops of the program.
std::set<std::string> candidates_of(const Problem& problem, Parameters& tried, const program::ProgramOptions& options) {
  const base::ComputeScope scope(test_threads);
  program::ProgramOptions any = options;
  const auto rule = optim::adam();
  any.optimizer = rule.get();
  program::TuningRecord tuning_record(false);
  const program::Program compiled(problem.graph, tried, any, tuning_record);
  std::set<std::string> names;
  for (const auto& [key, candidates] : tuning_record.offered()) names.insert(candidates.begin(), candidates.end());
  return names;
}

/// Checks the programs of a model in all modes, with all options that change them and all candidates.
void check_model(const std::string& model, Precision precision) {
  using program::Mode;
  const Problem problem = problem_of(model, size_of(model), 3);
  Parameters tried(problem.graph, 1);
  const auto check = [&](std::string_view how, const program::ProgramOptions& options,
                         const std::string& candidate = "") {
    CAPTURE(how);
    CAPTURE(candidate);
    check_poisoned(problem, tried, options, candidate);
  };
  const program::ProgramOptions training = options_of(problem, precision, Mode::training);
  const program::ProgramOptions inference = options_of(problem, precision, Mode::inference);
  program::ProgramOptions saving = training, accumulating = training, clipping = training;
  saving.save_memory = true;
  accumulating.gradient_policy = optim::update_policy({.accumulate = true});
  clipping.save_memory = true;
  clipping.gradient_policy = optim::update_policy({.accumulate = true, .clip_norm = 0.1});
  check("gradients", options_of(problem, precision, Mode::gradients));
  check("save_memory", saving);
  check("accumulate", accumulating);
  check("accumulate, clip, save_memory", clipping);
  check("training", training);
  check("inference", inference);
  // The candidates of a larger model of a family are those of the smaller one.
  if (model == "resnet34" || model == "resnet50" || model == "densenet161") return;
  for (const program::ProgramOptions& options : {training, inference}) {
    for (const std::string& candidate : candidates_of(problem, tried, options)) {
      check(options.mode == Mode::training ? "training" : "inference", options, candidate);
    }
  }
}

}  // namespace

TEST_CASE("models: no instruction reads memory that is unwritten, or that others have reused") {
  for (const std::string& model : model_names()) {
    for (const Precision precision : {Precision::f32, Precision::bf16}) {
      if (precision == Precision::bf16 && !has_native_bf16()) continue;
      CAPTURE(model);
      CAPTURE(to_string(precision));
      check_model(model, precision);
    }
  }
}

}  // namespace facet::testing
