#include "cli/manifests.h"

#include <fmt/format.h>

#include <map>
#include <memory>

#include "cli/output_file.h"
#include "cli/ranks.h"
#include "cli/shared_options.h"
#include "cli/terminal.h"
#include "facet/error.h"
#include "facet/sampler.h"
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
    text += fmt::format("{}{} ({}{}): {}\n", std::string(indent, ' '), printable(head.name), head.classes.size(),
                        head.ordinal ? ", ordinal" : "", list_of(head.classes));
  }
  return text;
}

void print_notes(const std::string& csv, const SourceDataset& data, std::FILE* stream) {
  for (const std::string& note : data.notes()) {
    print_note(printable(note.starts_with(csv) ? note : fmt::format("{}: {}", csv, note)), stream);
  }
}

void print_warnings(const std::string& csv, const SourceDataset& data) {
  const std::vector<BadImage> warnings = data.warnings();
  if (warnings.empty()) return;
  const BadImage& first = warnings.front();
  print_error("facet: {} of {} read with warnings; the first: {}\n", grouped(std::ssize(warnings)),
              counted(data.size(), "image"),
              printable(fmt::format("{}:{}: {}: {}", csv, first.line, first.name, first.reason)));
}

SourceDataset open_manifest(const std::string& csv, const ManifestOptions& options, const ProcessGroup& ranks) {
  std::string text;
  std::shared_ptr<const ManifestSource> source;
  on_first(ranks, [&] {
    text = read_manifest(csv);
    source = std::make_shared<const ManifestSource>(csv, ranks.size() > 1 ? text : std::move(text), options);
  });
  if (ranks.size() == 1) return SourceDataset(source);
  text = ranks.broadcast(std::move(text));
  // Whether backslashes separate folders depends on a file that another host may not see.
  const bool backslashes = ranks.max(source && source->has_backslashes() ? 1 : 0) != 0;
  ranks.together([&] {
    if (source) return;
    ManifestOptions same = options;
    same.backslashes = backslashes;
    source = std::make_shared<const ManifestSource>(csv, std::move(text), same);
  });
  return SourceDataset(source);
}

namespace {

/// Why images of the whole data set can't be read, by their indices, of which each rank reads a share.
std::map<std::int64_t, std::string> find_bad_images(const SourceDataset& data, int threads, const ProcessGroup& ranks) {
  const PositionRange share = share_of(data.size(), ranks.rank(), ranks.size());
  std::vector<std::string> texts;  // an index, then the reason
  ranks.together([&] {
    ProgressBar bar;
    const auto progress = count_progress(bar, "checking", share.size);
    for (auto& [index, reason] : data.find_bad_images(share.first, share.size, threads, progress)) {
      texts.insert(texts.end(), {std::to_string(index), reason});
    }
  });
  texts = gather_texts(ranks, texts);
  std::map<std::int64_t, std::string> reasons;
  for (std::size_t i = 0; i < texts.size(); i += 2) reasons.emplace(std::stoll(texts[i]), texts[i + 1]);
  return reasons;
}

}  // namespace

ListedImages skip_bad_images(const std::string& csv, SourceDataset& data, int threads, std::FILE* stream,
                             const ProcessGroup& ranks) {
  const std::int64_t all = data.size();
  ListedImages skipped{csv, data.drop(find_bad_images(data, threads, ranks))};
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

ListedImages gather_images(const std::string& csv, const std::vector<BadImage>& own, const ProcessGroup& ranks) {
  std::vector<std::string> texts;
  for (const BadImage& image : own) texts.insert(texts.end(), {std::to_string(image.line), image.name, image.reason});
  texts = gather_texts(ranks, texts);
  std::map<std::int64_t, BadImage> by_line;
  for (std::size_t i = 0; i < texts.size(); i += 3) {
    const std::int64_t line = std::stoll(texts[i]);
    by_line.try_emplace(line, BadImage{.line = line, .name = texts[i + 1], .reason = texts[i + 2]});
  }
  ListedImages all{csv, {}};
  for (auto& [line, image] : by_line) all.images.push_back(std::move(image));
  return all;
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
