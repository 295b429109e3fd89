#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "base/parallel.h"
#include "facet/inference.h"
#include "inference/evaluation.h"
#include "inference/heads.h"
#include "inference/threads.h"

namespace facet {
namespace {

/// @throws Error naming the image where an answer isn't finite.
const std::vector<HeadPrediction>& named_predictions(Predictor& predictor, const Dataset& data, const Batch& batch,
                                                     std::span<const std::uint8_t> pixels) {
  try {
    return predictor.predict(pixels);
  } catch (const inference::NotFinite& error) {
    const std::int64_t image = batch.indices[static_cast<std::size_t>(error.image())];
    throw Error(fmt::format("{}: head {}: its logits aren't finite", data.name(image), error.head()));
  }
}

}  // namespace

std::vector<HeadResult> evaluate(Predictor& predictor, const Dataset& data, const InferenceOptions& options,
                                 const std::function<void(const Batch&, const std::vector<HeadPrediction>&)>& each) {
  const ModelInfo& info = predictor.info();
  inference::require_heads(info.heads, data.heads(), "the data set");
  if (data.size() == 0) throw Error("the data set holds no image");

  inference::require_threads("loader_threads", options.loader_threads);
  LoaderOptions loading;
  loading.batch = std::min(options.batch, predictor.options().batch);
  loading.size = info.size;
  loading.resize = info.resize;
  loading.threads = options.loader_threads;
  loading.shuffle = false;
  loading.flip = false;
  Loader loader(data, loading);
  const std::size_t image_bytes = inference::image_bytes(info);

  base::ComputeScope scope(inference::compute_threads(predictor.options().threads),
                           std::max(options.loader_threads, 1));
  inference::Evaluation evaluation(info.heads);
  loader.start_epoch(0);
  while (const Batch* batch = loader.next()) {
    const auto pixels = std::span(batch->pixels).first(static_cast<std::size_t>(batch->size) * image_bytes);
    const std::vector<HeadPrediction>& predictions = named_predictions(predictor, data, *batch, pixels);
    evaluation.add(*batch, predictions);
    if (each) {
      const base::ComputeScope::Suspension outside(scope);
      each(*batch, predictions);
    }
  }
  return evaluation.results();
}

}  // namespace facet
