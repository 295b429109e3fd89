#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <sstream>
#include <system_error>
#include <utility>

#include "cli/command.h"
#include "cli/manifests.h"
#include "cli/output_file.h"
#include "cli/shared_options.h"
#include "cli/terminal.h"
#include "facet/dataset.h"
#include "facet/error.h"
#include "facet/files.h"
#include "facet/model_file.h"
#include "facet/models.h"
#include "facet/text.h"

namespace facet::app {
namespace {

constexpr std::int64_t min_rows = 2;  // a head needs at least two classes

/// Reads class names from a file, one on each line, in UTF-8 with or without a byte order mark.
std::vector<std::string> read_class_file(const std::string& file) {
  std::string text = read_text(file);
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  std::istringstream stream(std::move(text));
  std::vector<std::string> names;
  for (std::string line; std::getline(stream, line);) {
    if (line.ends_with('\r')) line.pop_back();
    names.push_back(line);
  }
  while (!names.empty() && names.back().empty()) names.pop_back();
  return names;
}

/// Sets the classes of the heads that --classes names.
void name_classes(const Options& options, std::vector<Head>& heads) {
  std::vector<std::string> named;
  for (const std::string& text : options.list("classes")) {
    const std::size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos) {
      throw UsageError(
          fmt::format("{} is '{}'; HEAD=A,B,... or HEAD=@FILE is needed", options.origin("classes"), text));
    }
    const std::string name = text.substr(0, equals), value = text.substr(equals + 1);
    const auto head = std::find_if(heads.begin(), heads.end(), [&](const Head& each) { return each.name == name; });
    if (head == heads.end()) {
      throw UsageError(fmt::format("{} has classes for {}, which is not a head; the heads are {}",
                                   options.origin("classes"), name, fmt::join(names_of(heads), ", ")));
    }
    if (std::find(named.begin(), named.end(), name) != named.end()) {
      throw UsageError(fmt::format("{} has two lists of classes for {}", options.origin("classes"), name));
    }
    named.push_back(name);
    std::vector<std::string> classes =
        value.starts_with('@') ? read_class_file(value.substr(1)) : split_at_commas(value, options.origin("classes"));
    if (classes.size() != head->classes.size()) {
      throw UsageError(fmt::format("{} has {} for head {}, which has {} rows", options.origin("classes"),
                                   counted(std::ssize(classes), "name"), name, head->classes.size()));
    }
    head->classes = std::move(classes);
  }
  try {
    require_named_heads(options.origin("classes"), heads);
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
}

/// Whether a layer with this number of rows may be a head.
bool is_head(std::int64_t rows) { return rows >= min_rows && rows <= max_head_rows; }

/// The heads of weights whose layers have facet's names.
std::vector<Head> find_heads(const std::string& weights, const std::vector<PretrainedTensor>& tensors,
                             const std::string& model) {
  const std::string begin = "heads.", end = model == "reference" ? ".logits.weight" : ".weight";
  std::vector<Head> heads;
  for (const PretrainedTensor& tensor : tensors) {
    if (!tensor.name.starts_with(begin) || !tensor.name.ends_with(end) || tensor.shape.size() != 2) continue;
    if (tensor.name.size() <= begin.size() + end.size()) continue;
    const std::string name = tensor.name.substr(begin.size(), tensor.name.size() - begin.size() - end.size());
    const std::int64_t rows = tensor.shape[0];
    if (!is_head(rows)) {
      throw Error(fmt::format("{}: tensor '{}' has {}; {} to {} are allowed, one for each class of the head", weights,
                              printable(tensor.name), counted(rows, "row"), min_rows, max_head_rows));
    }
    heads.push_back({name, default_classes(name, rows)});
  }
  return heads;
}

/// The part of a message that suggests a --split-head for the classifier of a torchvision model.
std::string split_hint(const std::vector<PretrainedTensor>& tensors, const std::string& model) {
  constexpr std::int64_t fairface_rows = 18;
  if (model == "reference") return "";
  const std::string layer = torchvision_classifier(model);
  for (const PretrainedTensor& tensor : tensors) {
    if (tensor.name != layer + ".weight" || tensor.shape.size() != 2) continue;
    const std::int64_t rows = tensor.shape[0];
    if (!is_head(rows)) return fmt::format("; {} has {}", layer, counted(rows, "row"));
    return fmt::format("; {} has {}: --split-head {}={}", layer, counted(rows, "row"), layer,
                       rows == fairface_rows ? "race:0-6,gender:7-8,age:9-17" : fmt::format("label:0-{}", rows - 1));
  }
  return "";
}

/// The heads of the weights, with the classes that are known or that --classes names; also sets them in `split`.
std::vector<Head> read_heads(const Options& options, const std::string& weights, const std::string& model,
                             HeadSplit& split) {
  std::vector<Head> heads;
  if (split.layer.empty()) {
    const std::vector<PretrainedTensor> tensors = list_pretrained(weights);
    heads = find_heads(weights, tensors, model);
    if (heads.empty()) {
      throw UsageError(fmt::format("--split-head is needed: {} has no layers called heads.NAME{}", weights,
                                   split_hint(tensors, model)));
    }
  }
  for (const HeadRows& part : split.heads) heads.push_back(part.head);
  name_classes(options, heads);
  for (std::size_t i = 0; i < split.heads.size(); ++i) split.heads[i].head = heads[i];
  return heads;
}

/// @throws UsageError for a model file, which needs no import, and whose classes would be lost.
void refuse_model_file(const std::string& weights) {
  try {
    read_model_info(weights);
  } catch (const Error&) {
    return;
  }
  throw UsageError(
      fmt::format("{} is a model file already; use it with evaluate, predict, export or --pretrained", weights));
}

int run_import(Options& options) {
  const std::string weights = only_argument(options, "FILE");
  const std::string name = options.required("out");
  const std::filesystem::path file = output_path(name);
  ModelInfo info;
  options.required("model");
  info.model = options.one_of("model", model_names());
  info.size = read_size(options);
  info.resize = read_resize(options);
  info.normalization = read_normalization(options);
  const RequestedShape shape = read_shape(options);
  HeadSplit split = read_training_options(options).split_head;
  std::error_code ignored;
  if (std::filesystem::equivalent(weights, file, ignored)) {
    throw UsageError(fmt::format("{} is the input file, which would be overwritten", options.origin("out")));
  }
  refuse_model_file(weights);
  info.heads = read_heads(options, weights, info.model, split);
  info.shape = shape_for(options, shape, info.heads);

  const Graph graph = build_requested_model(options, {.heads = info.heads, .size = info.size}, info.shape);
  Parameters parameters(graph, 0);
  const PretrainedWeights found = load_pretrained(weights, graph, info.heads, parameters, split);
  if (!found.fresh.empty()) {
    throw Error(fmt::format("{}: the file has no weights that fit {}; {}", weights, fmt::join(found.fresh, ", "),
                            "an imported model needs all of its weights"));
  }
  save_model(file, info, parameters);
  std::FILE* const remarks = name == standard_output ? stderr : stdout;
  if (is_quiet()) return 0;
  print_to(remarks, "{}: {} at {}, {}\nheads\n{}", name == standard_output ? "standard output" : printable(name),
           info.model, to_string(info.size), counted(graph.trainable_count(), "parameter"),
           describe_heads(info.heads, 2));
  print_note(printable(found.summary), remarks);
  return 0;
}

/// The option --split-head of training, whose text names another file.
Option split_head_option() {
  Option option = training_option("split-head");
  option.help = "rows of the classifier that belong to each head" + option.help.substr(option.help.find(','));
  return option;
}

}  // namespace

Command import_command() {
  Option model = model_option();
  model.help = fmt::format("the model of the weights: {}", fmt::join(model_names(), ", "));
  model.fallback.clear();  // weights fit only one model
  Command command;
  command.name = "import";
  command.summary = "make a model file from weights trained elsewhere";
  command.usage = "FILE --model NAME --split-head LAYER=HEAD:FIRST-LAST,... --out FILE [options]";
  command.description =
      "Makes a model file from weights trained with PyTorch, for evaluate, predict, export and train --pretrained. "
      "FILE is a safetensors file, or a file that torch.save wrote (also before PyTorch 1.6) of a state_dict or of a "
      "checkpoint that has one under state_dict, model or model_state_dict. Names are torchvision's or facet's. No "
      "pickled code is ever run.\n\n"
      "--split-head assigns the classifier's rows to heads. Weights whose layers are called heads.NAME, as facet's own "
      "are, don't need it.";
  command.groups = {
      {"Model",
       {std::move(model),
        split_head_option(),
        {.name = "classes",
         .argument = "HEAD=A,B,...",
         .help = "classes of a head, in the order of its rows; HEAD=@FILE reads them from a file, one on each line",
         .value = Option::Value::many},
        size_option(),
        resize_option()}},
      reference_shape_options(),
      {"Pixels (as the weights were trained; by default ImageNet's values as in torchvision)", normalization_options()},
      {"File",
       {{.name = "out", .argument = "FILE", .help = "the model file to write (.safetensors); - is standard output"}}}};
  command.examples = {{"FairFace's own ResNet-34, then its accuracy",
                       "facet import res34_fair_align_multi_7_20190809.pt --model resnet34 \\\n      "
                       "--split-head fc=race:0-6,gender:7-8,age:9-17 --out fairface.safetensors"},
                      {"", "facet evaluate fairface.safetensors --data fairface_label_val.csv"},
                      {"torchvision's ImageNet weights, with the names of the classes from a file",
                       "facet import resnet34.pth --model resnet34 --split-head fc=label:0-999 \\\n      "
                       "--classes label=@imagenet.txt --out imagenet.safetensors"}};
  command.run = run_import;
  return command;
}

}  // namespace facet::app
