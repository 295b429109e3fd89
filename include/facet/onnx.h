#pragma once

#include <cstdint>
#include <filesystem>

#include "facet/export.h"
#include "facet/graph.h"
#include "facet/model_file.h"
#include "facet/parameters.h"

namespace facet {

/// The values of an exported model's input, which is f32 {batch, 3, height, width} with channels R, G, B and images of
/// the model's size. `pixels` below are 8-bit values.
enum class OnnxInput : std::uint8_t {
  normalized,  ///< (pixels / 255 - mean) / std by channel, with the mean and std of Normalization
  unit,        ///< pixels / 255, from 0 to 1; the model normalises
  pixels,      ///< numbers from 0 to 255; the model normalises
};

struct OnnxOptions {
  OnnxInput input = OnnxInput::normalized;
  bool fold_batch_norm = true;  ///< into the preceding convolution, if nothing else reads its output
  /// Outputs are probabilities instead of logits, where the head's loss has any: softmax for softmax_cross_entropy,
  /// sigmoids for binary_cross_entropy, differences of sigmoids for coral_loss.
  bool softmax = false;
};

/// Writes a model as an ONNX file (https://onnx.ai; opset 10, f32) that computes inference in other programs. The input
/// is called `input`, and each output, f32 {batch, classes}, has the name of its head; the batch size is free. Logits
/// of coral_loss are {batch, classes - 1}: those of P(class > k), so that the number of them above 0 is the class; of
/// probabilities, the class is the number of k for which the classes above k have more than 0.5 together. The
/// metadata_props, all strings, are those of a model file (`model`; `size`, such as "224" for a square and "224x160",
/// height x width, otherwise; `resize`, "squash" or "crop", how images are resized to that size (ResizeMode); `heads`,
/// a JSON list of {"name", "classes"}, with "ordinal" true for coral_loss, in the order of the outputs; `mean` and
/// `std`, JSON lists of three numbers; `shape`, if the model has one; `format` "facet" and `version` "1") and `input`
/// ("normalized", "unit" or "pixels") and `outputs` ("logits" or "probabilities"). The file is written completely or
/// not at all.
/// @throws Error when the file can't be written (with the system's reason); when `info` has a value that no model file
///   can hold; when graph, parameters and `info` don't fit together; when a tensor is non-finite; when an op has no
///   form in ONNX; when a head is called `input`; or when the model is larger than 2 GiB, the limit of an ONNX file.
FACET_EXPORT void export_onnx(const std::filesystem::path& file, const ModelInfo& info, const Graph& graph,
                              const Parameters& parameters, const OnnxOptions& options = {});

}  // namespace facet
