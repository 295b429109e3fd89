#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "cli/command.h"
#include "cli/manifests.h"
#include "cli/runs.h"
#include "cli/shared_options.h"
#include "cli/terminal.h"
#include "facet/error.h"
#include "facet/files.h"
#include "facet/image.h"
#include "facet/manifest.h"
#include "facet/model_file.h"
#include "facet/text.h"

namespace facet::app {
namespace {

constexpr std::int64_t sampled_images = 200;

std::string class_counts(const ManifestDataset& data, std::size_t head) {
  const std::vector<std::string>& names = data.heads()[head].classes;
  std::vector<std::int64_t> counts(names.size());
  std::int64_t unlabelled = 0;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    const std::int32_t label = data.labels(i)[head];
    ++(label == no_label ? unlabelled : counts[static_cast<std::size_t>(label)]);
  }
  Table table({{data.heads()[head].name}, {"images", true}, {"share", true}});
  const auto share = [&](std::int64_t count) {
    return percent(static_cast<double>(count) / static_cast<double>(std::max<std::int64_t>(data.size(), 1)));
  };
  for (std::size_t i = 0; i < std::min(names.size(), max_classes_shown); ++i) {
    table.add({names[i], grouped(counts[i]), share(counts[i])});
  }
  if (unlabelled > 0) table.add({"(no label)", grouped(unlabelled), share(unlabelled)});
  return table.text() + more_classes(names.size());
}

/// Whether a regular file exists and can be seen: false also where its name is too long or its folder isn't accessible.
bool can_be_seen(const std::filesystem::path& file) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(file, ignored);
}

void print_missing_files(const ManifestDataset& data) {
  std::int64_t missing = 0, first = -1;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    if (can_be_seen(data.path(i))) continue;
    if (missing++ == 0) first = i;
  }
  if (missing == 0) {
    print_out("files       all there\n");
  } else {
    print_out("files       {} of {} missing; the first, in line {}: {} (--root sets their folder)\n", grouped(missing),
              grouped(data.size()), data.line(first), printable(data.path(first).string()));
  }
}

/// Prints the range of the sizes of some of the existing photographs, evenly spread over the manifest.
void print_sizes(const ManifestDataset& data) {
  std::vector<int> widths, heights;
  std::int64_t bad = 0, warned = 0;
  std::string first_bad, first_warning;
  const std::int64_t count = std::min(data.size(), sampled_images);
  for (std::int64_t k = 0; k < count; ++k) {
    const std::filesystem::path file = data.path(k * data.size() / count);
    if (!can_be_seen(file)) continue;
    try {
      std::string warning;
      const Image image = read_image(file, 0, &warning);
      if (!warning.empty() && warned++ == 0) first_warning = fmt::format("{}: {}", file.string(), warning);
      widths.push_back(image.width);
      heights.push_back(image.height);
    } catch (const Error& error) {
      if (bad++ == 0) first_bad = error.what();
    }
  }
  if (!widths.empty()) {
    std::sort(widths.begin(), widths.end());
    std::sort(heights.begin(), heights.end());
    print_out("sizes       width {} to {}, median {}; height {} to {}, median {} (of {})\n", widths.front(),
              widths.back(), widths[widths.size() / 2], heights.front(), heights.back(), heights[heights.size() / 2],
              counted(std::ssize(widths), "image"));
  }
  if (warned > 0) {
    print_out("warnings    {} of {} tried; the first: {}\n", grouped(warned), grouped(count), printable(first_warning));
  }
  if (bad > 0)
    print_out("bad images  {} of {} tried; the first: {}\n", grouped(bad), grouped(count), printable(first_bad));
}

void inspect_manifest(const std::string& csv, const Options& options) {
  const ManifestDataset data(csv, read_manifest_options(options));
  print_out("manifest    {}: {}\n", printable(csv), counted(data.size(), "image"));
  print_notes(csv, data);
  print_missing_files(data);
  print_sizes(data);
  for (std::size_t head = 0; head < data.heads().size(); ++head) print_out("\n{}", class_counts(data, head));
}

/// A value of a model file's metadata, printable; of a very long one, such as thousands of classes, the beginning.
std::string shortened(const std::string& value) {
  constexpr std::size_t max_bytes = 4000;
  if (value.size() <= max_bytes) return printable(value);
  std::size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(value[end]) & 0xC0U) == 0x80U) --end;
  return fmt::format("{}... ({} bytes)", printable(value.substr(0, end)),
                     grouped(static_cast<std::int64_t>(value.size())));
}

void inspect_model(const std::filesystem::path& file) {
  const ModelInfo info = read_model_info(file);
  const std::vector<PretrainedTensor> tensors = list_pretrained(file);
  std::int64_t elements = 0;
  for (const PretrainedTensor& tensor : tensors) elements += element_count(tensor.shape);
  print_out("file        {} ({})\n", printable(file.string()),
            bytes_text(static_cast<double>(std::filesystem::file_size(file))));
  print_out("model       {} at {}\n", printable(info.model), to_string(info.size));
  print_out("tensors     {}, {} elements, running statistics included\n", tensors.size(), grouped(elements));
  print_out("input       (pixels / 255 - mean) / std; mean {}, {}, {}; std {}, {}, {}\n", info.normalization.mean[0],
            info.normalization.mean[1], info.normalization.mean[2], info.normalization.std[0],
            info.normalization.std[1], info.normalization.std[2]);
  print_out("heads\n{}", describe_heads(info.heads, 2));
  print_out("metadata\n");
  for (const auto& [key, value] : read_metadata(file)) {
    print_out("  {}: {}\n", printable(key), shortened(value));
  }
}

int run_inspect(Options& options) {
  const std::filesystem::path source = only_argument(options, "a manifest, a run's folder or a model file");
  if (std::filesystem::is_directory(status_of(source)) || source.extension() == ".safetensors") {
    for (const Option& option : manifest_options()) {
      if (options.given(option.name)) throw UsageError(options.origin(option.name) + " needs a manifest");
    }
    inspect_model(find_model(source, options.text("checkpoint")));
  } else {
    if (options.given("checkpoint")) throw UsageError(options.origin("checkpoint") + " needs a run's folder");
    inspect_manifest(source.string(), options);
  }
  return 0;
}

}  // namespace

Command inspect_command() {
  Command command;
  command.name = "inspect";
  command.summary = "show the contents of a manifest, a run or a model file";
  command.usage = "CSV_OR_RUN_OR_MODEL [options]";
  command.description =
      "Shows a manifest's (CSV) number of images, heads, classes with their counts, missing files and the sizes of up "
      "to 200 of its photographs; or the model, heads, classes and metadata of a run's folder or a model file "
      "(.safetensors).";
  command.groups = {{"Manifest", manifest_options()},
                    {"Run",
                     {{.name = "checkpoint",
                       .argument = "FILE",
                       .help = "checkpoint of the run to use instead of the best: a file, or a name such as 'last'"}}}};
  command.examples = {{"", "facet inspect fairface/train.csv --root fairface/images"},
                      {"", "facet inspect runs/faces --checkpoint last"},
                      {"", "facet inspect faces.safetensors"}};
  command.run = run_inspect;
  return command;
}

}  // namespace facet::app
