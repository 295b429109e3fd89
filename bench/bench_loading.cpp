#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "data/decode/decode.h"
#include "facet/error.h"
#include "facet/machine.h"
#include "facet/manifest.h"
#include "facet/synthetic.h"
#include "facet/text.h"
#include "facet/threads.h"
#include "loading.h"
#include "options.h"
#include "result.h"
#include "scratch_folder.h"

/// Measures how fast images are loaded, from their files into batches, per core and by stage.

namespace {

using namespace facet;
namespace po = boost::program_options;

struct Options : bench::LoadingOptions {
  std::string data, root, file_column, thread_counts = "1", json;
  ImageSize jpeg_size = 256;
};

/// @throws Error naming --jpeg-size.
ImageSize read_jpeg_size(const std::string& text) {
  constexpr int smallest = 32, largest = 2048;  // that write_synthetic_sample draws
  const std::size_t cross = text.find('x');
  if (cross == std::string::npos) {
    throw Error(fmt::format("--jpeg-size is '{}'; WIDTHxHEIGHT is needed, such as 1024x768", text));
  }
  return {bench::read_number("jpeg-size's height", text.substr(cross + 1), smallest, largest),
          bench::read_number("jpeg-size's width", text.substr(0, cross), smallest, largest)};
}

/// @throws Error, or an exception of Boost, for an invalid option or value.
Options parse(int argc, char** argv) {
  constexpr int most = 1'000'000;
  Options o;
  po::options_description description(
      "bench_loading: images/s of loading images from files into batches, per core and by stage\n\nOptions");
  auto add = description.add_options();
  add("help", "print this and exit");
  add("data", po::value(&o.data),
      "CSV of images and labels, as facet train takes it; without it, synthetic JPEGs are "
      "written into a temporary folder");
  add("root", po::value(&o.root), "folder that the CSV's file names are relative to; by default the CSV's own folder");
  add("file-column", po::value(&o.file_column), "column of the file names, as facet train has it");
  add("jpeg-size", po::value<std::string>()->default_value("256x256")->notifier([&o](const std::string& text) {
    o.jpeg_size = read_jpeg_size(text);
  }),
      "width x height of the synthetic JPEGs, in pixels");
  bench::add_number(description, "images", o.images, 0, most,
                    "images to load in each round, spread evenly over the CSV; 0: all, or 1000 synthetic ones");
  bench::add_size(description, o.size);
  add("resize", po::value<std::string>()->default_value("squash")->notifier([&o](const std::string& text) {
    bench::require_one_of("resize", text, {"squash", "crop"});
    o.resize = parse_resize_mode(text);
  }),
      "squash or crop: how images are resized to that size, as facet train has it");
  bench::add_augmentation_options(description, o.training);
  bench::add_number(description, "batch", o.batch, 1, bench::most_images, "batch size, in images");
  add("threads", po::value(&o.thread_counts)->default_value(o.thread_counts),
      "decoding threads, or several numbers of them, such as 1,2; 0: all cores that the process may use");
  bench::add_number(description, "warmup", o.warmup, 0, most,
                    "rounds that aren't measured: the first one brings the files into the page cache");
  bench::add_number(description, "iterations", o.iterations, 1, most, "rounds to measure");
  add("json", po::value(&o.json), "write the result to this file; - is standard output");
  bench::read_words(argc, argv, description);
  check_augmentation(o.training.augmentation);
  if (o.data.empty() && o.images == 0) o.images = 1000;
  if (o.data.empty() && !(o.root.empty() && o.file_column.empty())) {
    throw Error("--root and --file-column are of a CSV, but --data names none");
  }
  o.threads = bench::read_numbers("threads", o.thread_counts, 0, max_threads);
  std::ranges::replace(o.threads, 0, usable_cores());
  return o;
}

/// Returns the CSV of --data, or that of synthetic JPEGs, which are written into a new folder.
std::filesystem::path prepare_images(const Options& o, std::optional<bench::ScratchFolder>& folder) {
  if (!o.data.empty()) return o.data;
  folder.emplace();
  write_synthetic_sample(folder->path(), {.train = o.images, .validation = 0, .size = o.jpeg_size});
  return *folder / "train.csv";
}

std::string title_of_data(const Options& o) {
  if (!o.data.empty()) return printable(o.data);
  return fmt::format("synthetic JPEGs of {}x{}", o.jpeg_size.width, o.jpeg_size.height);
}

/// Returns the members that the results of all numbers of threads share.
nlohmann::json common_json(const Options& o) {
  nlohmann::json versions = bench::versions_json();
  versions["libjpeg"] = data::jpeg_library();
  return {{"framework", "facet"},
          {"bench", "loading"},
          {"mode", "loading"},
          {"data", title_of_data(o)},
          {"batch", o.batch},
          {"size", bench::size_json(o.size)},
          {"resize", to_string(o.resize)},
          {"augmentation", bench::augmentation_words(o.training)},
          {"machine", bench::machine_json("")},
          {"versions", versions}};
}

void run(Options o) {
  bench::JsonFile json(o.json);
  std::optional<bench::ScratchFolder> folder;
  const ManifestDataset dataset(prepare_images(o, folder), {.root = o.root, .file_column = o.file_column});
  if (o.images == 0) o.images = dataset.size();
  if (o.images == 0 || o.images > dataset.size()) {
    throw Error(fmt::format("--images is {}; {} has {}", o.images, title_of_data(o), dataset.size()));
  }
  const std::string changes = bench::augmentation_words(o.training);
  fmt::print("{} images of {} to {}{}{}, batch {}, {} ({})\n", o.images, title_of_data(o), to_string(o.size),
             changes.empty() ? "" : " ", changes, o.batch, cpu_model(), data::jpeg_library());
  std::fflush(stdout);  // the measurements take a while
  std::vector<nlohmann::json> results;
  for (const bench::LoadingTimes& times : bench::measure_loading(dataset, o)) {
    bench::print_loading(times);
    results.push_back(common_json(o));
    bench::add_times(results.back(), times);
  }
  if (results.size() == 1) return json.write(results.front());
  bench::add_scaling(results);
  bench::print_scaling(results);
  json.write_lines(results);
}

}  // namespace

int main(int argc, char** argv) {
  int failure = 2;
  try {
    const Options options = parse(argc, argv);
    failure = 1;
    run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_loading: {}\n", error.what());
    return failure;
  }
}
