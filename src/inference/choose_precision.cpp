#include "inference/choose_precision.h"

#include <fmt/format.h>

#include <optional>

#include "facet/error.h"

namespace facet::inference {

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
  };
  const auto measure = [&](Precision precision) -> Trial {
    try {
      return {.seconds = seconds(precision), .error = {}};
    } catch (const Error& error) {
      return {.seconds = {}, .error = error.what()};
    }
  };
  const Trial bf16 = measure(Precision::bf16), f32 = measure(Precision::f32);
  if (!bf16.seconds && !f32.seconds) throw Error(fmt::format("in bf16: {}; in f32: {}", bf16.error, f32.error));
  if (!f32.seconds) return {.precision = Precision::bf16, .note = "precision bf16: not f32: " + f32.error};
  if (!bf16.seconds) return {.precision = Precision::f32, .note = "precision f32: not bf16: " + bf16.error};
  const Precision faster = *bf16.seconds < 0.95 * *f32.seconds ? Precision::bf16 : Precision::f32;
  return {.precision = faster,
          .note = fmt::format("precision {}: a batch takes {:.3g} ms in bf16, {:.3g} ms in f32", to_string(faster),
                              1e3 * *bf16.seconds, 1e3 * *f32.seconds),
          .measured = true};
}

std::string measured_precision_key(const ModelInfo& info, const Graph& graph, std::int64_t batch, int threads) {
  std::string key = fmt::format("precision of {} with {} parameters at {}x{}", info.model, graph.trainable_count(),
                                info.size, info.size);
  if (!info.shape.empty()) key += fmt::format(" shape {}", info.shape);
  for (const Head& head : info.heads) key += fmt::format(" {}", head.classes.size());
  return fmt::format("{} batch {} threads {}", key, batch, threads);
}

}  // namespace facet::inference
