#include "program/choose_precision.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <vector>

#include "base/memory.h"
#include "facet/error.h"
#include "facet/parameters.h"
#include "program/parameter_store.h"

namespace facet::program {

ChosenPrecision choose_precision(PrecisionChoice choice, Tuning tuning, const TimedBatch& seconds) {
  switch (choice) {
    case PrecisionChoice::automatic:
      return has_native_bf16() ? choose_faster(tuning, seconds) : ChosenPrecision{};
    case PrecisionChoice::f32:
      return {};
    case PrecisionChoice::bf16:
      require_precision(Precision::bf16);
      return {.precision = Precision::bf16};
  }
  throw Error(fmt::format("precision {} found; allowed: automatic, f32, bf16", static_cast<int>(choice)));
}

namespace {

/// Tuning is taken to make a batch at most this much faster; see choose_faster().
constexpr double most_gained_by_tuning = 2;

/// A precision, and what is known of the time that a batch takes in it.
struct Trial {
  Precision precision;
  Tuning tuning = Tuning::none;  ///< of the last measurement
  double seconds = 0;
  std::string error = {};  ///< what the last measurement has thrown; empty: nothing
  ErrorCode code = {};

  void measure(Tuning with, const TimedBatch& timed) {
    tuning = with;
    try {
      seconds = timed(precision, with);
    } catch (const Error& thrown) {
      error = thrown.what();
      code = thrown.code();
    }
  }
};

}  // namespace

ChosenPrecision choose_faster(Tuning tuning, const TimedBatch& seconds) {
  Trial bf16{.precision = Precision::bf16}, f32{.precision = Precision::f32};
  bf16.measure(Tuning::none, seconds);
  f32.measure(Tuning::none, seconds);
  if (tuning == Tuning::full && bf16.error.empty() && f32.error.empty()) {
    const bool bf16_leads = bf16.seconds < f32.seconds;
    Trial& first = bf16_leads ? bf16 : f32;
    Trial& second = bf16_leads ? f32 : bf16;
    first.measure(Tuning::full, seconds);
    if (first.error.empty() && second.seconds < most_gained_by_tuning * first.seconds) {
      second.measure(Tuning::full, seconds);
    }
  }
  if (!bf16.error.empty() && !f32.error.empty()) {
    throw Error(fmt::format("in bf16: {}; in f32: {}", bf16.error, f32.error), f32.code);
  }
  if (!f32.error.empty()) return {.precision = Precision::bf16, .note = "precision bf16: not f32: " + f32.error};
  if (!bf16.error.empty()) return {.precision = Precision::f32, .note = "precision f32: not bf16: " + bf16.error};
  const Precision faster = bf16.seconds < 0.95 * f32.seconds ? Precision::bf16 : Precision::f32;
  const auto text = [&](const Trial& trial) {
    return fmt::format("{:.3g} ms in {}{}", 1e3 * trial.seconds, to_string(trial.precision),
                       trial.tuning == tuning ? "" : " before tuning");
  };
  return {.precision = faster,
          .note = fmt::format("precision {}: a batch takes {}, {}", to_string(faster), text(bf16), text(f32)),
          .measured = true};
}

std::string measured_precision_key(std::string_view model, std::string_view shape, const Graph& graph,
                                   std::int64_t batch, int threads) {
  const Shape& image = graph.input_shape();
  std::string key =
      fmt::format("precision of {} with {} parameters at {}x{}", model, graph.trainable_count(), image[1], image[2]);
  if (!shape.empty()) key += fmt::format(" shape {}", shape);
  for (const HeadOutput& head : graph.heads()) key += fmt::format(" {}", head.classes);
  return fmt::format("{} batch {} threads {}", key, batch, threads);
}

namespace {

constexpr int timed_steps = 3;

/// Pseudo-random pixels: with constant images batch normalisation would divide by nearly zero.
std::vector<std::uint8_t> noise(std::size_t bytes) {
  std::vector<std::uint8_t> pixels(bytes);
  std::uint32_t word = 1;
  for (std::uint8_t& pixel : pixels) {
    word = word * 1664525U + 1013904223U;
    pixel = static_cast<std::uint8_t>(word >> 24U);
  }
  return pixels;
}

}  // namespace

double step_seconds(const Graph& graph, const program::ProgramOptions& options, program::TuningRecord& tuning_record) {
  program::ProgramOptions alone = options;
  alone.communicator = nullptr;
  Parameters parameters = options.mode == Mode::training
                              ? make_parameters(graph, 0, plan_layouts(graph, alone, tuning_record))
                              : Parameters(graph, 0);
  program::Program program(graph, parameters, alone, tuning_record);
  base::Arena arena;
  arena.grow(program.arena_bytes());
  program.bind(arena);

  const auto batch = static_cast<std::size_t>(options.batch);
  const std::vector<std::uint8_t> pixels = noise(batch * static_cast<std::size_t>(element_count(graph.input_shape())));
  std::vector<std::int32_t> labels(batch * graph.heads().size(), 0);
  std::vector<std::vector<float>> targets(graph.heads().size());
  for (std::size_t head = 0; head < targets.size(); ++head) {
    const HeadOutput& output = graph.heads()[head];
    if (predicts_class(output.kind)) continue;
    if (output.kind == LossKind::custom) {  // without labels it isn't called: it may not expect noise
      std::fill_n(labels.begin() + static_cast<std::ptrdiff_t>(head * batch), batch, -1);
    } else {
      targets[head].assign(batch * static_cast<std::size_t>(output.classes), 0);
    }
  }
  program::RunInput input;
  input.pixels = pixels.data();
  input.labels = labels.data();
  input.targets = targets;
  double fastest = std::numeric_limits<double>::infinity();
  for (int step = 0; step <= timed_steps; ++step) {
    input.step = step + 1;
    const auto begin = std::chrono::steady_clock::now();
    program.run(input);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    if (step > 0) fastest = std::min(fastest, taken.count());
  }
  return fastest;
}

}  // namespace facet::program
