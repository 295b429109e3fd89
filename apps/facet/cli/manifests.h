#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "cli/options.h"
#include "facet/manifest.h"
#include "facet/process_group.h"

namespace facet::app {

/// The options --root, --file-column, --label-column, --heads and --classes of a command that reads a manifest whose
/// heads aren't known yet.
std::vector<Option> manifest_options();
Option heads_option();
/// @throws UsageError when --classes isn't HEAD=A,B,... or names a head twice, and as read_columns does.
ManifestOptions read_manifest_options(const Options& options);

/// A line "age (9): 0-2, 3-9, ..." for each head, after `indent` blanks; of very many classes it lists the first.
std::string describe_heads(const std::vector<Head>& heads, std::size_t indent);

/// Prints the notes of a manifest's reader, one on each line.
void print_notes(const std::string& csv, const SourceDataset& data, std::FILE* stream = stdout);

/// Prints to standard error how many images were read although something is wrong with their files, and what is wrong
/// with the first; prints nothing where there are none.
void print_warnings(const std::string& csv, const SourceDataset& data);

/// Opens a manifest in several processes: rank 0 reads the file and gives its text to the others.
/// @throws Error on all ranks, as ManifestSource does.
SourceDataset open_manifest(const std::string& csv, const ManifestOptions& options, const ProcessGroup& ranks);

/// Images of a manifest that were left out of it, or read with warnings.
struct ListedImages {
  std::string csv;
  std::vector<BadImage> images;
};

/// Leaves out the images that can't be read, with a progress bar, and prints how many. Each rank checks a share of the
/// images, and all leave out the same.
/// @throws Error when none is left.
ListedImages skip_bad_images(const std::string& csv, SourceDataset& data, int threads, std::FILE* stream = stdout,
                             const ProcessGroup& ranks = {});

/// The images of all ranks' lists, each once, in the order of the manifest. All ranks call it.
ListedImages gather_images(const std::string& csv, const std::vector<BadImage>& own, const ProcessGroup& ranks);

/// A CSV file of the images, with the columns file, line, reason and manifest.
std::string images_csv(const std::vector<ListedImages>& manifests);

}  // namespace facet::app
