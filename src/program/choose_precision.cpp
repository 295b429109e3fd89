#include "program/choose_precision.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "base/memory.h"
#include "facet/error.h"
#include "facet/parameters.h"
#include "program/parameter_store.h"

namespace facet::program {

ChosenPrecision choose_precision(PrecisionChoice choice, const std::function<double(Precision)>& seconds) {
  switch (choice) {
    case PrecisionChoice::automatic:
      return has_native_bf16() ? choose_faster(seconds) : ChosenPrecision{};
    case PrecisionChoice::f32:
      return {};
    case PrecisionChoice::bf16:
      require_precision(Precision::bf16);
      return {.precision = Precision::bf16};
  }
  throw Error(fmt::format("precision {} found; allowed: automatic, f32, bf16", static_cast<int>(choice)));
}

ChosenPrecision choose_faster(const std::function<double(Precision)>& seconds) {
  struct Trial {
    std::optional<double> seconds;
    std::string error;
    ErrorCode code = {};
  };
  const auto measure = [&](Precision precision) -> Trial {
    try {
      return {.seconds = seconds(precision), .error = {}, .code = {}};
    } catch (const Error& error) {
      return {.seconds = {}, .error = error.what(), .code = error.code()};
    }
  };
  const Trial bf16 = measure(Precision::bf16), f32 = measure(Precision::f32);
  if (!bf16.seconds && !f32.seconds) {
    throw Error(fmt::format("in bf16: {}; in f32: {}", bf16.error, f32.error), f32.code);
  }
  if (!f32.seconds) return {.precision = Precision::bf16, .note = "precision bf16: not f32: " + f32.error};
  if (!bf16.seconds) return {.precision = Precision::f32, .note = "precision f32: not bf16: " + bf16.error};
  const Precision faster = *bf16.seconds < 0.95 * *f32.seconds ? Precision::bf16 : Precision::f32;
  return {.precision = faster,
          .note = fmt::format("precision {}: a batch takes {:.3g} ms in bf16, {:.3g} ms in f32", to_string(faster),
                              1e3 * *bf16.seconds, 1e3 * *f32.seconds),
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
