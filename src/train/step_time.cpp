#include "train/step_time.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <vector>

#include "base/memory.h"
#include "facet/parameters.h"

namespace facet::train {
namespace {

constexpr int timed_steps = 3;

/// Pixels without a pattern: constant images would make batch norm divide by nearly nothing.
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

double step_seconds(const Graph& graph, const program::ProgramOptions& options, program::Choices& choices) {
  Parameters parameters(graph, 0);
  program::Program program(graph, parameters, options, choices);
  base::Arena arena;
  arena.grow(program.arena_bytes());
  program.bind(arena);

  const auto batch = static_cast<std::size_t>(options.batch);
  const std::vector<std::uint8_t> pixels = noise(batch * static_cast<std::size_t>(element_count(graph.input_shape())));
  const std::vector<std::int32_t> labels(batch * graph.heads().size(), 0);
  program::RunInput input;
  input.pixels = pixels.data();
  input.labels = labels.data();
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

}  // namespace facet::train
