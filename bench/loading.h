#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/stage_clock.h"
#include "facet/image.h"
#include "facet/source.h"
#include "facet/train_options.h"

/// Times a Loader on files of images, by stage, and libjpeg-turbo's decoding of the same images alone.
namespace facet::bench {

struct LoadingOptions {
  ImageSize size = 224;  ///< of the loaded images
  ResizeMode resize = ResizeMode::squash;
  TrainOptions training = {};      ///< of which flip and augmentation are used
  std::int64_t images = 0;         ///< of an epoch: 1 to all of the data set, over which they are spread evenly
  std::int64_t batch = 64;         ///< in images
  std::vector<int> threads = {1};  ///< numbers of decoding threads, which take turns in each round
  int warmup = 1, iterations = 5;  ///< rounds: in each, an epoch is loaded, and then its images are only decoded
};

/// The times of one number of threads. Vectors have an element for each round.
struct LoadingTimes {
  int threads = 1;
  std::int64_t images = 0;  ///< of an epoch
  /// Seconds of an epoch.
  std::vector<double> seconds = {};
  /// Seconds that all threads together spend on the images of an epoch, by stage.
  std::array<std::vector<double>, data::stages.size()> stages = {};
  /// The same of the bare decode; empty where not all images are JPEGs.
  std::vector<double> bare_decode = {};

  /// Returns the seconds of all threads together in which they wait, or share out the work.
  std::vector<double> other() const;
  /// Returns the images that one thread loads in a second, and those that libjpeg-turbo decodes, by round.
  std::vector<double> loaded_per_core() const;
  std::vector<double> decoded_per_core() const;
  /// Returns loaded_per_core() over decoded_per_core(): the median over the rounds, in which one follows the other.
  double ratio() const;
};

/// Measures each number of threads. @throws Error as Loader does.
std::vector<LoadingTimes> measure_loading(const SourceDataset& dataset, const LoadingOptions& options);

void print_loading(const LoadingTimes& times);

/// Adds what was measured to a result.
void add_times(nlohmann::json& result, const LoadingTimes& times);

}  // namespace facet::bench
