#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "facet/data.h"
#include "facet/error.h"
#include "facet/export.h"
#include "facet/graph.h"
#include "facet/metrics.h"
#include "facet/model_file.h"
#include "facet/parameters.h"
#include "facet/precision.h"

namespace facet {

/// A model as its file describes it (read_model_info). @throws Error as the build_model of models.h does.
FACET_EXPORT Graph build_model(const ModelInfo& info);

struct InferenceOptions {
  std::int64_t batch = 64;
  PrecisionChoice precision = PrecisionChoice::f32;
  int threads = 0;  ///< compute threads, up to 4096; 0: OMP_NUM_THREADS, else all cores that it may use
  /// Decoding threads of evaluate(), up to 4096; 0: as many as keep it from waiting (see LoaderOptions).
  int loader_threads = 0;
  bool tune = false;  ///< time candidate primitives when a batch size is met first; otherwise oneDNN's defaults
  /// Folder where choices made by timing, the precision that `automatic` took among them, are kept between processes,
  /// and taken from also without `tune`; empty: nowhere.
  std::filesystem::path choice_cache = {};
};

/// Answers of one head for one batch.
struct HeadPrediction {
  std::vector<float> logits = {};            ///< {images, classes}
  std::vector<float> probabilities = {};     ///< {images, classes}
  std::vector<std::int32_t> predicted = {};  ///< {images}: the class of the largest logit
};

/// A trained model that looks at images. One thread at a time uses a predictor; several predictors may work at once.
/// All member functions of one that was moved from throw Error.
///
/// A process that has used a predictor or trainer may fork, but the child must not use facet (it hangs: as with GCC's
/// OpenMP, the threads that compute are not there) unless it calls exec first.
class FACET_EXPORT Predictor {
 public:
  /// Of a model file of a model that build_model knows.
  /// @throws Error naming the file and what is wrong with it.
  explicit Predictor(const std::filesystem::path& model_file, const InferenceOptions& options = {});
  /// Of a model of the caller's own, by its graph, whose input and heads must be the file's.
  /// @throws Error naming the file and what doesn't fit; when an option can't be meant, or bf16 can't be had.
  Predictor(const std::filesystem::path& model_file, Graph graph, const InferenceOptions& options = {});
  ~Predictor();
  Predictor(Predictor&&) noexcept;

  const ModelInfo& info() const;
  const InferenceOptions& options() const;
  /// The precision that is used, after `automatic` was decided.
  Precision precision() const;

  /// @param pixels 8-bit RGB {images, size, size, 3}; images is at most options.batch.
  /// @return one entry a head, valid until the next call.
  /// @throws Error when the pixels are none, no whole images or too many; naming head and image (from 1, of the batch)
  ///   when a logit isn't finite; when memory doesn't suffice.
  const std::vector<HeadPrediction>& predict(std::span<const std::uint8_t> pixels);

  /// Resizes the image as ModelInfo::resize says and answers for it alone. @throws Error likewise, and as resize does.
  const std::vector<HeadPrediction>& predict(const Image& image);

 private:
  struct FACET_NO_EXPORT State;
  FACET_NO_EXPORT State& state() const;

  std::unique_ptr<State> state_;
};

/// Where the time of an evaluation went.
struct EvaluationTime {
  double seconds = 0;         ///< from asking for the first batch to the end of the last
  double waited_seconds = 0;  ///< of these, waiting for the loader
  int loader_threads = 0;     ///< that decoded in the end
};

/// Looks at every image of a data set, in its order. Of `options`, the batch (no more than the predictor's) and the
/// loader's threads are taken.
/// @param each called after every batch with it and its predictions; may be empty.
/// @param time null: not asked for.
/// @throws Error when the data set's heads are not the model's, when it holds no image, when one can't be read, or
/// naming
///   image and head when a logit isn't finite.
FACET_EXPORT std::vector<HeadResult> evaluate(
    Predictor& predictor, const Dataset& data, const InferenceOptions& options = {},
    const std::function<void(const Batch&, const std::vector<HeadPrediction>&)>& each = {},
    EvaluationTime* time = nullptr);

}  // namespace facet
