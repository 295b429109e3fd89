#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <span>

#include "base/cpus.h"
#include "base/parallel.h"
#include "data/labels.h"
#include "facet/inference.h"
#include "facet/threads.h"
#include "inference/evaluation.h"
#include "inference/views.h"

namespace facet {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// The predictions for a batch of `data`. @throws Error naming the image and the head where a logit isn't finite.
const std::vector<HeadPrediction>& named_predictions(Predictor& predictor, const Dataset& data, const Batch& batch,
                                                     std::span<const std::uint8_t> pixels) {
  try {
    return predictor.predict(pixels);
  } catch (const inference::NotFinite& error) {
    const std::int64_t image = batch.indices[static_cast<std::size_t>(error.image())];
    throw Error(fmt::format("{}: the logits of head {} aren't finite", data.name(image), error.head()),
                ErrorCode::non_finite);
  }
}

/// The predictions for a batch of `data`: means over the views of each image.
const std::vector<HeadPrediction>& predict_views(Predictor& predictor, const Dataset& data, const Batch& batch,
                                                 inference::Views& views, inference::MeanPrediction& mean) {
  const auto predictions = [&](int view) -> const std::vector<HeadPrediction>& {
    return named_predictions(predictor, data, batch, views.view(view, batch.pixels, batch.size));
  };
  if (views.count() == 1) return predictions(0);
  mean.begin();
  for (int view = 0; view < views.count(); ++view) mean.add(predictions(view));
  return mean.result();
}

}  // namespace

std::vector<HeadResult> evaluate(Predictor& predictor, const Dataset& data, const InferenceOptions& options,
                                 const std::function<void(const Batch&, const std::vector<HeadPrediction>&)>& each,
                                 EvaluationTime* time) {
  const ModelInfo& info = predictor.info();
  data::require_heads(info.heads, data.heads(), "the data set");
  if (data.size() == 0) throw Error("the data set has no images");

  base::require_threads("loader_threads", options.loader_threads);
  const std::int64_t batch_size = std::min(options.batch, predictor.options().batch);
  inference::Views views(options.tta, info);
  LoaderOptions loading = inference::evaluation_loading(info, batch_size, options.loader_threads);
  loading.size = views.loaded_size();
  loading.resize = views.loaded_resize();
  Loader loader(data, loading);
  inference::MeanPrediction mean(predictor.graph(), info.heads);

  base::ComputeScope scope(resolve_threads(predictor.options().threads));
  inference::Evaluation evaluation(info.heads, predictor.graph());
  loader.start_epoch(0);
  const Clock::time_point began = Clock::now();
  double waited = 0;
  const auto next = [&] {
    const Clock::time_point wait_begin = Clock::now();
    const Batch* batch = loader.next();
    waited += seconds_since(wait_begin);
    return batch;
  };
  while (const Batch* batch = next()) {
    const std::vector<HeadPrediction>& predictions = predict_views(predictor, data, *batch, views, mean);
    evaluation.add(*batch, predictions);
    if (each) {
      const base::ComputeScope::Suspension outside(scope);
      each(*batch, predictions);
    }
  }
  if (time != nullptr) *time = {seconds_since(began), waited, loader.threads()};
  return evaluation.results();
}

}  // namespace facet
