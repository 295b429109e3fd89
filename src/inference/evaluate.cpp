#include <algorithm>

#include "base/parallel.h"
#include "facet/inference.h"
#include "inference/evaluation.h"
#include "inference/heads.h"
#include "inference/threads.h"

namespace facet {

std::vector<HeadResult> evaluate(Predictor& predictor, const Dataset& data, const InferenceOptions& options,
                                 const std::function<void(const Batch&, const std::vector<HeadPrediction>&)>& each) {
  const ModelInfo& info = predictor.info();
  inference::require_heads(info.heads, data.heads(), "the data set");

  LoaderOptions loading;
  loading.batch = std::min(options.batch, predictor.options().batch);
  loading.size = info.size;
  loading.threads = options.loader_threads;
  loading.shuffle = false;
  loading.flip = false;
  Loader loader(data, loading);
  const std::size_t image_bytes = inference::image_bytes(info);

  const base::ComputeScope scope(inference::compute_threads(predictor.options().threads));
  inference::Evaluation evaluation(info.heads);
  loader.start_epoch(0);
  while (const Batch* batch = loader.next()) {
    const std::span<const std::uint8_t> pixels(batch->pixels);
    const auto& predictions = predictor.predict(pixels.first(static_cast<std::size_t>(batch->size) * image_bytes));
    evaluation.add(*batch, predictions);
    if (each) each(*batch, predictions);
  }
  return evaluation.results();
}

}  // namespace facet
