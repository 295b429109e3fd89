#include "cli/manifests.h"

#include <fmt/format.h>

#include "cli/output_file.h"
#include "cli/shared_options.h"
#include "cli/terminal.h"
#include "facet/error.h"
#include "facet/text.h"

namespace facet::app {

std::vector<Option> manifest_options() {
  std::vector<Option> options{root_option()};
  for (Option& option : column_options()) options.push_back(std::move(option));
  options.push_back(heads_option());
  options.push_back({.name = "classes",
                     .argument = "HEAD=A,B,...",
                     .help = "classes of a head, in the order of the model's outputs, or HEAD=fairface for FairFace's; "
                             "by default those of FairFace for a column age, gender or race that holds no others, else "
                             "the column's values, sorted (as numbers where all are whole numbers)",
                     .value = Option::Value::many});
  return options;
}

Option heads_option() {
  return {.name = "heads",
          .argument = "A,B,...",
          .help =
              "columns to use, one for each head; by default all columns but that of the file names, other columns "
              "with a name that --file-column lists, `service_test` and identifiers (more than 50 values, with fewer "
              "than two rows each on average)"};
}

ManifestOptions read_manifest_options(const Options& options) {
  ManifestOptions manifest;
  manifest.root = options.text("root");
  manifest.heads = options.words("heads");
  read_columns(options, manifest);
  for (const std::string& text : options.list("classes")) {
    const std::size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos) {
      throw UsageError(fmt::format("{} is '{}'; HEAD=A,B,... is needed", options.origin("classes"), text));
    }
    const std::string head = text.substr(0, equals);
    auto classes = split_at_commas(text.substr(equals + 1), options.origin("classes"));
    if (!manifest.classes.emplace(head, std::move(classes)).second) {
      throw UsageError(fmt::format("{} has two lists of classes for {}", options.origin("classes"), head));
    }
  }
  return manifest;
}

std::string describe_heads(const std::vector<Head>& heads, std::size_t indent) {
  std::string text;
  for (const Head& head : heads) {
    text += fmt::format("{}{} ({}): {}\n", std::string(indent, ' '), printable(head.name), head.classes.size(),
                        list_of(head.classes));
  }
  return text;
}

void print_notes(const std::string& csv, const ManifestDataset& data, std::FILE* stream) {
  for (const std::string& note : data.notes()) {
    print_to(stream, "note        {}\n", printable(note.starts_with(csv) ? note : fmt::format("{}: {}", csv, note)));
  }
}

void print_warnings(const std::string& csv, const ManifestDataset& data) {
  const std::vector<BadImage> warnings = data.warnings();
  if (warnings.empty()) return;
  const BadImage& first = warnings.front();
  print_error("facet: {} of {} read with warnings; the first: {}\n", grouped(std::ssize(warnings)),
              counted(data.size(), "image"),
              printable(fmt::format("{}:{}: {}: {}", csv, first.line, first.name, first.reason)));
}

ListedImages skip_bad_images(const std::string& csv, ManifestDataset& data, int threads, std::FILE* stream) {
  ProgressBar bar;
  const std::int64_t all = data.size();
  ListedImages skipped{csv, data.drop_bad_images(threads, count_progress(bar, "checking", all))};
  bar.clear();
  if (skipped.images.empty()) return skipped;
  const BadImage& first = skipped.images.front();
  const std::string found = fmt::format("{}:{}: {}: {}", csv, first.line, first.name, first.reason);
  if (data.size() == 0) {
    throw Error(fmt::format("{}: its {} can't be read; the first: {}", csv, counted(all, "image"), found));
  }
  print_to(stream, "skipped     {} of {} in {}; the first: {}\n", grouped(std::ssize(skipped.images)),
           counted(all, "image"), printable(csv), printable(found));
  return skipped;
}

std::string images_csv(const std::vector<ListedImages>& manifests) {
  std::string text = csv_line({"file", "line", "reason", "manifest"});
  for (const ListedImages& manifest : manifests) {
    for (const BadImage& image : manifest.images) {
      text += csv_line({image.name, std::to_string(image.line), image.reason, manifest.csv});
    }
  }
  return text;
}

}  // namespace facet::app
