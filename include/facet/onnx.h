#pragma once

#include <cstdint>
#include <filesystem>

#include "facet/export.h"
#include "facet/graph.h"
#include "facet/model_file.h"
#include "facet/parameters.h"

namespace facet {

/// What the input of an exported model holds: f32 {batch, 3, height, width}, channels R, G, B, of images of the model's
/// size, whose 8-bit pixels became
enum class OnnxInput : std::uint8_t {
  normalized,  ///< (pixels / 255 - mean) / std, by channel, as Normalization has them
  unit,        ///< pixels / 255, of 0 to 1; the model normalises
  pixels,      ///< numbers of 0 to 255; the model normalises
};

struct OnnxOptions {
  OnnxInput input = OnnxInput::normalized;
  bool fold_batch_norm = true;  ///< into the convolution before it, where that is read by nothing else
  bool softmax = false;         ///< outputs are probabilities instead of logits
};

/// Writes a model as an ONNX file (https://onnx.ai; opset 10, f32): what is computed in inference, for other programs
/// to run. Its input is called `input`, and each output, f32 {batch, classes}, as its head; the batch may be of any
/// size. Its metadata_props, all strings, are those of a model file (`model`; `size`, a number; `resize`, "squash" or
/// "crop", how images are resized to it (ResizeMode); `heads`, a JSON list of {"name", "classes"} in the order of the
/// outputs; `mean` and `std`, JSON lists of three numbers; `shape`, where the model has one of its own; `format`
/// "facet" and `version` "1") and `input` ("normalized", "unit" or "pixels") and `outputs` ("logits" or
/// "probabilities"). Written whole or not at all.
/// @throws Error naming the file and the system's reason; what `info` has that no file can hold; in what graph,
///   parameters and `info` don't fit together; a tensor that isn't finite; an op without a form in ONNX; a head called
///   `input`; or a model larger than the 2 GiB that an ONNX file can hold.
FACET_EXPORT void export_onnx(const std::filesystem::path& file, const ModelInfo& info, const Graph& graph,
                              const Parameters& parameters, const OnnxOptions& options = {});

}  // namespace facet
