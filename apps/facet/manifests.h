#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "facet/data.h"
#include "options.h"

namespace facet::app {

/// --root, --file-column, --label-column, --heads and --classes of a command that reads a manifest whose heads aren't
/// known yet.
std::vector<Option> manifest_options();
Option heads_option();
/// @throws UsageError when --classes isn't HEAD=A,B,... or names a head twice, and as read_columns does.
ManifestOptions read_manifest_options(const Options& options);

/// "age (9): 0-2, 3-9, ..." for each head, a line each after `indent` blanks; of very many classes, the first.
std::string describe_heads(const std::vector<Head>& heads, std::size_t indent);

/// Prints what the reader of a manifest noted, a line each.
void print_notes(const std::string& csv, const ManifestDataset& data, std::FILE* stream = stdout);

/// Prints on standard error how many images were read although something is wrong with their files, and of the first
/// what; nothing where there are none.
void print_warnings(const std::string& csv, const ManifestDataset& data);

/// Images of a manifest that were left out of it, or read with warnings.
struct ListedImages {
  std::string csv;
  std::vector<ManifestDataset::BadImage> images;
};

/// Leaves out the images that can't be read, with a progress bar, and prints how many.
/// @throws Error when none is left.
ListedImages skip_bad_images(const std::string& csv, ManifestDataset& data, int threads, std::FILE* stream = stdout);

/// A CSV of file, line, reason and manifest.
std::string images_csv(const std::vector<ListedImages>& manifests);

}  // namespace facet::app
