#include "workload.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <exception>

#include "base/random.h"
#include "facet/dataset.h"
#include "facet/models.h"
#include "facet/platform.h"
#include "facet/threads.h"
#include "program/parameter_store.h"

namespace facet::bench {

namespace {

Precision prepare(const WorkloadOptions& options) {
  if (!options.max_cpu_isa.empty()) set_max_cpu_isa(options.max_cpu_isa);
  const Precision precision = options.precision == "bf16" ? Precision::bf16 : Precision::f32;
  require_precision(precision);
  return precision;
}

}  // namespace

std::vector<Head> fairface_heads() {
  const auto classes = [](int count) {
    std::vector<std::string> names;
    for (int i = 0; i < count; ++i) names.push_back(std::to_string(i));
    return names;
  };
  return {{"age", classes(9)}, {"gender", classes(2)}, {"race", classes(7)}};
}

Workload::Workload(const WorkloadOptions& options, const Graph& graph)
    : options_(options), graph_(graph), precision_(prepare(options)), optimizer_(optim::adam()) {
  use_threads(thread_counts(options).front());
  base::RandomStream random(0, base::Purpose::synthesis);
  pixels_.resize(static_cast<std::size_t>(options.batch) * static_cast<std::size_t>(options.size.height) *
                 static_cast<std::size_t>(options.size.width) * 3);
  std::generate(pixels_.begin(), pixels_.end(), [&] { return static_cast<std::uint8_t>(random.bits()); });
  for (const Head& head : fairface_heads()) {
    for (std::int64_t i = 0; i < options.batch; ++i) {
      labels_.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(head.classes.size()))));
    }
  }
}

void Workload::use_threads(int threads) {
  threads_ = threads;
  compute_.reset();
  compute_.emplace(threads);
  arena_.emplace();
}

program::ProgramOptions Workload::program_options() const {
  program::ProgramOptions options{
      .batch = options_.batch,
      .precision = precision_,
      .mode = options_.mode == "training" ? program::Mode::training : program::Mode::inference,
      .mean = {0.485F, 0.456F, 0.406F},
      .std = {0.229F, 0.224F, 0.225F}};
  options.save_memory = options_.save_memory;
  options.optimizer = optimizer_.get();
  return options;
}

program::RunInput Workload::input() const {
  return {.pixels = pixels_.data(), .labels = labels_.data(), .learning_rate = 1e-4F};
}

namespace {

program::LayoutPlan layouts_of(Workload& workload, program::TuningRecord& tuning_record) {
  const program::ProgramOptions options = workload.program_options();
  return options.mode == program::Mode::training ? program::plan_layouts(workload.graph(), options, tuning_record)
                                                 : program::plain_layouts(workload.graph().parameters());
}

}  // namespace

CompiledStep::CompiledStep(Workload& workload, program::TuningRecord& tuning_record)
    : parameters_(program::make_parameters(workload.graph(), 0, layouts_of(workload, tuning_record))),
      program_(workload.graph(), parameters_, workload.program_options(), tuning_record),
      input_(workload.input()) {
  workload.arena().grow(program_.arena_bytes());
  program_.bind(workload.arena());
}

void CompiledStep::run() {
  program_.run(input_);
  ++input_.step;
}

int run_bench(const char* name, const std::function<WorkloadOptions()>& parse,
              const std::function<int(Workload&)>& run) {
  WorkloadOptions options;
  Graph graph;
  try {
    options = parse();
    graph = build_model(options.model, {.heads = fairface_heads(), .size = options.size});
    if (options.pin) {
      const std::vector<int> counts = thread_counts(options);
      pin_compute_threads(*std::max_element(counts.begin(), counts.end()));
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", name, error.what());
    return 2;
  }
  try {
    Workload workload(options, graph);
    return run(workload);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", name, error.what());
    return 1;
  }
}

}  // namespace facet::bench
