#include <cstdio>
#include <filesystem>

#include "cli/command.h"
#include "cli/output_file.h"
#include "cli/runs.h"
#include "cli/terminal.h"
#include "facet/inference.h"
#include "facet/model_file.h"
#include "facet/models.h"
#include "facet/onnx.h"
#include "facet/text.h"

namespace facet::app {
namespace {

constexpr const char* safetensors = "safetensors";
constexpr const char* onnx = "onnx";

/// The value of --format, or the format that the file's name ends in.
std::string read_format(const Options& options, const std::filesystem::path& file) {
  if (options.given("format")) return options.one_of("format", {safetensors, onnx});
  const std::string ending = file.extension().string();
  for (const char* format : {safetensors, onnx}) {
    if (ending == fmt::format(".{}", format)) return format;
  }
  throw UsageError(fmt::format("--format is needed (safetensors or onnx): {} ends in neither .safetensors nor .onnx",
                               file.string()));
}

OnnxOptions read_onnx_options(const Options& options) {
  const std::string input = options.one_of("input", {"normalized", "unit", "pixels"});
  return {.input = input == "pixels" ? OnnxInput::pixels
                   : input == "unit" ? OnnxInput::unit
                                     : OnnxInput::normalized,
          .fold_batch_norm = !options.on("no-fold"),
          .softmax = options.on("softmax")};
}

void refuse_options_of_other_format(const Options& options, const std::string& format) {
  if (format == onnx && options.given("torchvision")) {
    throw UsageError(fmt::format("{} needs --format safetensors", options.origin("torchvision")));
  }
  for (const char* name : {"input", "no-fold", "softmax"}) {
    if (format == safetensors && options.given(name)) {
      throw UsageError(
          fmt::format("{} needs --format onnx: a safetensors file holds only weights", options.origin(name)));
    }
  }
}

int run_export(Options& options) {
  const std::string source = only_argument(options, "RUN_OR_MODEL");
  const std::string name = options.required("out");
  const std::filesystem::path file = output_path(name);
  const std::string format = read_format(options, name);
  refuse_options_of_other_format(options, format);
  const OnnxOptions onnx_options = read_onnx_options(options);

  const std::filesystem::path model = find_model(source, options.text("checkpoint"));
  std::error_code ignored;
  if (std::filesystem::equivalent(model, file, ignored)) {
    throw UsageError(fmt::format("{} is the model itself, which would be overwritten", options.origin("out")));
  }
  const ModelInfo info = read_model_info(model);
  const Graph graph = build_model(info);
  Parameters parameters(graph, 0);
  load_weights(model, parameters);
  if (format == onnx) {
    export_onnx(file, info, graph, parameters, onnx_options);
  } else if (options.on("torchvision")) {
    save_weights(file, info, parameters, torchvision_classifier(info.model));
  } else {
    save_model(file, info, parameters);
  }
  print_to(name == standard_output ? stderr : stdout, "{}: {} as {}, {}\n",
           name == standard_output ? "standard output" : printable(name), printable(model.string()), format,
           counted(graph.trainable_count(), "parameter"));
  return 0;
}

}  // namespace

Command export_command() {
  Command command;
  command.name = "export";
  command.summary = "write a model for other programs: ONNX, or only the weights";
  command.usage = "RUN_OR_MODEL --out FILE [options]";
  command.description =
      "Writes a trained model as an ONNX file, which ONNX Runtime, OpenCV and many others run, or as a safetensors "
      "file of its weights under PyTorch's names. RUN_OR_MODEL is the folder of a training run, whose best checkpoint "
      "is used, or a model file (.safetensors).\n\n"
      "The ONNX file's input is `input`, f32 {batch, 3, height, width}, RGB, with any batch size. Its outputs have the "
      "names of the heads, f32 {batch, classes}; those of the logits of ordinal heads are {batch, classes - 1}. Its "
      "metadata hold the heads' classes (heads, as JSON), mean, std, "
      "size, resize (squash or crop), input and outputs.";
  command.groups = {
      {"File",
       {{.name = "out", .argument = "FILE", .help = "the file to write; - is standard output, which needs --format"},
        {.name = "format",
         .argument = "onnx|safetensors",
         .help = "format of the file; by default the one that FILE's name ends in"},
        {.name = "checkpoint",
         .argument = "FILE",
         .help = "checkpoint of the run to use instead of the best: a file, or a name such as 'last'"}}},
      {"Safetensors",
       {{.name = "torchvision",
         .argument = "",
         .help =
             "for one of torchvision's models with one head: name its last layer as torchvision does (fc, classifier, "
             "...), so that load_state_dict takes the file. facet reads such a file by --pretrained only",
         .value = Option::Value::none}}},
      {"ONNX",
       {{.name = "input",
         .argument = "KIND",
         .help = "kind of input: normalized, which is (pixels / 255 - mean) / std by channel; unit, which is pixels / "
                 "255; or pixels, numbers from 0 to 255. With unit and pixels, the model in the file does the rest of "
                 "the normalisation",
         .fallback = "normalized"},
        {.name = "softmax",
         .argument = "",
         .help = "output probabilities instead of logits",
         .value = Option::Value::none},
        {.name = "no-fold",
         .argument = "",
         .help = "keep batch normalisations instead of folding them into the convolutions before them",
         .value = Option::Value::none}}}};
  command.examples = {
      {"", "facet export runs/faces --out faces.onnx"},
      {"a model that takes pixels", "facet export runs/faces --out faces.onnx --input pixels --softmax"},
      {"", "facet export runs/faces --checkpoint last --out weights.safetensors"},
      {"for torchvision.models.resnet34(num_classes=3)",
       "facet export runs/moods --out resnet34.safetensors --torchvision"}};
  command.run = run_export;
  return command;
}

}  // namespace facet::app
