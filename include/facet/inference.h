#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "facet/dataset.h"
#include "facet/error.h"
#include "facet/export.h"
#include "facet/graph.h"
#include "facet/image.h"
#include "facet/loader.h"
#include "facet/metrics.h"
#include "facet/model_file.h"
#include "facet/parameters.h"
#include "facet/precision.h"

namespace facet {

/// Builds a model as its file describes it (read_model_info). @throws Error as the build_model of models.h does.
FACET_EXPORT Graph build_model(const ModelInfo& info);

/// Which views of an image evaluate() averages the predictions of.
enum class TestTimeAugmentation : std::uint8_t {
  none,  ///< the image alone
  flip,  ///< the image and its mirror image
  /// Five crops and their mirror images (torchvision: TenCrop): the image is resized to floor(height / 0.875) x
  /// floor(width / 0.875), by squashing or covering it as ModelInfo::resize says (ResizeMode::cover for crop), and its
  /// four corners and its centre are cut out, each of the model's size.
  crops
};
/// Returns "none", "flip" or "crops". @throws Error when `augmentation` has another value.
FACET_EXPORT std::string_view to_string(TestTimeAugmentation augmentation);

struct InferenceOptions {
  std::int64_t batch = 64;
  PrecisionChoice precision = PrecisionChoice::f32;
  int threads = 0;  ///< compute threads, up to 4096; 0: OMP_NUM_THREADS if set, else all cores the process may use
  /// Decoding threads of evaluate(), up to 4096; 0: chosen so that it doesn't wait (see LoaderOptions).
  int loader_threads = 0;
  /// Of evaluate(): predictions are means over views of each image.
  TestTimeAugmentation tta = TestTimeAugmentation::none;
  bool tune = false;  ///< time candidate primitives for each new batch size; false: use oneDNN's defaults
  /// The folder of the tuning cache, which keeps timed choices, including the precision chosen for `automatic`, between
  /// processes. It is read even without `tune`. Empty: no cache.
  std::filesystem::path tuning_cache = {};
};

/// The predictions of one head for one batch.
struct HeadPrediction {
  std::vector<float> logits = {};  ///< {images, classes}; for coral_loss {images, classes - 1}
  /// {images, classes}: the logits' softmax; for binary_cross_entropy the sigmoid of each; for coral_loss the
  /// differences of their sigmoids; for mean_squared_error and custom_loss the logits themselves.
  std::vector<float> probabilities = {};
  /// {images}: the class of the largest logit; for coral_loss the number of logits above 0. It has no meaning for heads
  /// with another loss than softmax_cross_entropy and these.
  std::vector<std::int32_t> predicted = {};
};

/// Runs a trained model on images. A predictor is not thread-safe, but several predictors may run at the same time. All
/// member functions of a predictor that was moved from throw Error.
///
/// A process that has used a predictor or trainer may fork, but the child must not use facet unless it calls exec
/// first: it would hang, because, as with GCC's OpenMP, the compute threads don't exist in the child.
class FACET_EXPORT Predictor {
 public:
  /// Loads a model file whose model build_model knows.
  /// @throws Error naming the file and what is wrong with it.
  explicit Predictor(const std::filesystem::path& model_file, const InferenceOptions& options = {});
  /// Loads a model file for the caller's own graph, whose input and heads must match the file's.
  /// @throws Error naming the file and what doesn't fit; when an option is out of range, or bf16 isn't supported.
  Predictor(const std::filesystem::path& model_file, Graph graph, const InferenceOptions& options = {});
  /// Copies the weights of a model that is in memory, such as a TrainingSession's.
  /// @param info must match the graph. @param weights parameters of such a graph.
  /// @throws Error when these don't fit together, when a weight is non-finite, when an option is out of range, or bf16
  ///   isn't supported.
  Predictor(ModelInfo info, Graph graph, const Parameters& weights, const InferenceOptions& options = {});
  ~Predictor();
  Predictor(Predictor&&) noexcept;

  const ModelInfo& info() const;
  /// Returns the graph of the model.
  const Graph& graph() const;
  const InferenceOptions& options() const;
  /// Returns the precision in use; `automatic` is resolved to the chosen one.
  Precision precision() const;

  /// Runs the model on a batch.
  /// @param pixels 8-bit RGB {images, height, width, 3}; images is at most options.batch.
  /// @return one entry per head, valid until the next call.
  /// @throws Error when `pixels` is empty, isn't a whole number of images or holds too many; when a logit is non-finite
  ///   (naming the head and the image's number in the batch, from 1); or when memory is insufficient.
  const std::vector<HeadPrediction>& predict(std::span<const std::uint8_t> pixels);

  /// Resizes the image as ModelInfo::resize says and runs the model on it alone.
  /// @throws Error as the other predict() does, and as resize does.
  const std::vector<HeadPrediction>& predict(const Image& image);

 private:
  struct FACET_NO_EXPORT State;
  FACET_NO_EXPORT State& state() const;

  std::unique_ptr<State> state_;
};

/// How an evaluation spent its time.
struct EvaluationTime {
  double seconds = 0;         ///< from the request for the first batch to the end of the last
  double waited_seconds = 0;  ///< the part of `seconds` spent waiting for the loader
  int loader_threads = 0;     ///< number of decoding threads at the end
};

/// Runs the predictor on every image of a data set, in its order, and returns the result of each head, whatever its
/// loss: a head is measured by the targets that the data set has for it, labels or values (Dataset::targets). Of
/// `options`, only `batch` (at most the predictor's), `loader_threads` and `tta` are used. With `tta`, the
/// probabilities are means over the views, from which the predictions, the logits (those of the mean probabilities) and
/// the losses follow; for mean_squared_error and custom_loss the means of the outputs take the place of all of these.
/// @param each called after every batch with the batch and its predictions; may be empty. With TestTimeAugmentation
///   crops the batch's pixels are those of the images from which the crops are taken, floor(extent / 0.875) high and
///   wide.
/// @param time if not null, is set to the time spent.
/// @throws Error when `tta` has another value, when the data set's heads are not the model's, when it is empty, when an
///   image can't be read, when a logit is non-finite (naming image and head), or when a target is wrong (naming the
///   head).
FACET_EXPORT std::vector<HeadResult> evaluate(
    Predictor& predictor, const Dataset& data, const InferenceOptions& options = {},
    const std::function<void(const Batch&, const std::vector<HeadPrediction>&)>& each = {},
    EvaluationTime* time = nullptr);

}  // namespace facet
