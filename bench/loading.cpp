#include "loading.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <utility>

#include "bare_decode.h"
#include "base/median.h"
#include "facet/loader.h"
#include "facet/sampler.h"
#include "result.h"
#include "workload.h"

namespace facet::bench {

using data::Stage;
using nlohmann::json;

namespace {

const char* name_of(Stage stage) {
  switch (stage) {
    case Stage::read:
      return "read";
    case Stage::decode:
      return "decode";
    case Stage::resize:
      return "resize";
    case Stage::transforms:
      return "transforms";
    default:
      return "collate";
  }
}

/// Some images of a data set, spread evenly over it, in random order.
class EvenSampler final : public Sampler {
 public:
  explicit EvenSampler(std::int64_t images) : images_(images) {}

  std::int64_t epoch_size(std::int64_t) const override { return images_; }
  std::vector<std::int64_t> order(std::int64_t count, std::uint64_t seed, std::int64_t epoch) const override {
    std::vector<std::int64_t> order = epoch_order(images_, seed, epoch);
    for (std::int64_t& image : order) image = image * count / images_;
    return order;
  }

 private:
  const std::int64_t images_;
};

/// The loader of one number of threads, and what it takes.
class TimedLoader {
 public:
  TimedLoader(const SourceDataset& dataset, const LoadingOptions& options, int threads)
      : dataset_(dataset),
        sampler_(std::make_shared<const EvenSampler>(options.images)),
        loader_(dataset, {.batch = options.batch,
                          .size = options.size,
                          .resize = options.resize,
                          .threads = threads,
                          .flip = options.training.flip,
                          .augmentation = options.training.augmentation,
                          .sampler = sampler_}),
        times_{.threads = threads, .images = options.images} {}

  /// Loads an epoch, and then decodes its images alone.
  /// @param counts whether the times are kept.
  void run(std::int64_t epoch, bool counts, const data::StageClock& clock) {
    std::array<double, data::stages.size()> before;
    std::ranges::transform(data::stages, before.begin(), [&](Stage stage) { return clock.seconds(stage); });
    const double seconds = seconds_of([&] {
      loader_.start_epoch(epoch);
      while (loader_.next() != nullptr) continue;
    });
    const std::optional<double> bare =
        time_bare_decode(dataset_, sampler_->order(dataset_.size(), 0, epoch), times_.threads);
    if (!counts) return;
    times_.seconds.push_back(seconds);
    for (const Stage stage : data::stages) {
      const auto at = static_cast<std::size_t>(stage);
      times_.stages.at(at).push_back(clock.seconds(stage) - before.at(at));
    }
    if (bare) times_.bare_decode.push_back(*bare);
  }

  const LoadingTimes& times() const { return times_; }

 private:
  const SourceDataset& dataset_;
  const std::shared_ptr<const Sampler> sampler_;
  Loader loader_;
  LoadingTimes times_;
};

}  // namespace

std::vector<double> LoadingTimes::other() const {
  std::vector<double> rest = seconds;
  for (std::size_t round = 0; round < rest.size(); ++round) {
    rest[round] *= threads;
    for (const std::vector<double>& stage : stages) rest[round] -= stage[round];
  }
  return rest;
}

std::vector<double> LoadingTimes::loaded_per_core() const {
  std::vector<double> rates = seconds;
  for (double& value : rates) value = static_cast<double>(images) / (value * threads);
  return rates;
}

std::vector<double> LoadingTimes::decoded_per_core() const {
  std::vector<double> rates = bare_decode;
  for (double& value : rates) value = static_cast<double>(images) / value;
  return rates;
}

double LoadingTimes::ratio() const {
  std::vector<double> ratios = loaded_per_core();
  const std::vector<double> decoded = decoded_per_core();
  for (std::size_t round = 0; round < ratios.size(); ++round) ratios[round] /= decoded[round];
  return base::median(ratios);
}

std::vector<LoadingTimes> measure_loading(const SourceDataset& dataset, const LoadingOptions& options) {
  const data::StageClock clock;  // outlives the loaders' threads, also where an image can't be read
  std::vector<std::unique_ptr<TimedLoader>> loaders;
  for (const int threads : options.threads) {
    loaders.push_back(std::make_unique<TimedLoader>(dataset, options, threads));
  }
  for (int round = 0; round < options.warmup + options.iterations; ++round) {
    for (const auto& loader : loaders) loader->run(round, round >= options.warmup, clock);
  }
  std::vector<LoadingTimes> all;
  for (const auto& loader : loaders) all.push_back(loader->times());
  return all;
}

namespace {

/// Calls body(name, microseconds of an image by round, share of the whole) for each stage, and for what is left.
template <class Body>
void for_each_stage(const LoadingTimes& times, const Body& body) {
  const double whole = base::median(times.seconds) * times.threads;
  const auto call = [&](const char* name, std::vector<double> seconds) {
    const double share = base::median(seconds) / whole;
    for (double& value : seconds) value *= 1e6 / static_cast<double>(times.images);
    body(name, seconds, share);
  };
  for (const Stage stage : data::stages) call(name_of(stage), times.stages.at(static_cast<std::size_t>(stage)));
  call("other", times.other());
}

}  // namespace

void print_loading(const LoadingTimes& times) {
  const std::vector<double> rates = times.loaded_per_core();
  const auto [min, max] = std::ranges::minmax(rates);
  fmt::print("\n{} thread{}: {:.1f} images/s a core (min {:.1f}, max {:.1f}); ", times.threads,
             times.threads == 1 ? "" : "s", base::median(rates), min, max);
  if (times.bare_decode.empty()) {
    fmt::print("no bare decode, since not all images are JPEGs\n");
  } else {
    fmt::print("bare decode {:.1f}, ratio {:.3f}\n", base::median(times.decoded_per_core()), times.ratio());
  }
  fmt::print("{:10}  {:>8}  {:>6}\n", "stage", "us/image", "share");
  for_each_stage(times, [](const char* name, const std::vector<double>& microseconds, double share) {
    fmt::print("{:10}  {:8.1f}  {:5.1f}%\n", name, base::median(microseconds), 100 * share);
  });
}

void add_times(json& result, const LoadingTimes& times) {
  std::vector<double> rates = times.loaded_per_core();
  result["threads"] = times.threads;
  result["images"] = times.images;
  result["images_per_s_per_core"] = spread(rates);
  for (double& rate : rates) rate *= times.threads;
  result["images_per_s"] = spread(rates);
  for_each_stage(times, [&](const char* name, const std::vector<double>& microseconds, double share) {
    result["stages"][name] = {{"us", spread(microseconds)}, {"share", share}};
  });
  if (times.bare_decode.empty()) return;
  result["bare_decode_images_per_s_per_core"] = spread(times.decoded_per_core());
  result["ratio"] = times.ratio();
}

}  // namespace facet::bench
