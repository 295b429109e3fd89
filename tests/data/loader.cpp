#include "facet/loader.h"

#include <doctest/doctest.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <mutex>
#include <set>
#include <thread>
#include <type_traits>

#include "data/make_jpeg.h"
#include "facet/dataset.h"
#include "facet/image.h"
#include "facet/machine.h"
#include "facet/manifest.h"

using facet::Batch;
using facet::Bytes;
using facet::Loader;
using facet::LoaderOptions;

namespace {

/// Images whose middle pixel value is their index. Loading some of them can be slow or fail.
class Numbered final : public facet::Dataset {
 public:
  explicit Numbered(std::int64_t size, std::set<std::int64_t> bad = {}) : size_(size), bad_(std::move(bad)) {
    for (std::int64_t i = 0; i < size; ++i) {
      labels_.push_back(static_cast<std::int32_t>(i % 2));
      labels_.push_back(static_cast<std::int32_t>(i % 3) - 1);
    }
  }
  std::int64_t size() const override { return size_; }
  const std::vector<facet::Head>& heads() const override { return heads_; }
  std::span<const std::int32_t> labels(std::int64_t index) const override {
    return std::span(labels_).subspan(static_cast<std::size_t>(index) * 2, 2);
  }
  void set_size(std::int64_t size) { size_ = size; }
  void rename_class() { heads_[1].classes[0] = "z"; }
  void set_label(std::int64_t index, std::size_t head, std::int32_t label) {
    labels_[static_cast<std::size_t>(index) * 2 + head] = label;
  }
  void load(const facet::LoadRequest& request, std::span<std::uint8_t> pixels) const override {
    const std::int64_t index = request.index;
    ++loads;
    const int now = ++running;
    for (int maximum = max_running; now > maximum && !max_running.compare_exchange_weak(maximum, now);) {
    }
    if (delay_ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms * (index % 3)));
    --running;
    if (bad_.contains(index)) throw facet::Error("image " + std::to_string(index) + " is bad");
    REQUIRE(pixels.size() == static_cast<std::size_t>(request.size.height * request.size.width * 3));
    for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i * 7 + i / 5);
    pixels[pixels.size() / 2] = static_cast<std::uint8_t>(index);
  }
  std::string name(std::int64_t index) const override { return std::to_string(index); }

  int delay_ms = 0;
  mutable std::atomic<int> loads = 0;
  mutable std::atomic<int> running = 0;
  mutable std::atomic<int> max_running = 0;

 private:
  std::int64_t size_;
  std::set<std::int64_t> bad_;
  std::vector<facet::Head> heads_{{"a", {"0", "1"}}, {"b", {"x", "y"}}};
  std::vector<std::int32_t> labels_;
};

std::vector<Batch> read_epoch(Loader& loader, std::int64_t epoch, std::int64_t first = 0) {
  std::vector<Batch> batches;
  loader.start_epoch(epoch, first);
  while (const Batch* batch = loader.next()) batches.push_back(*batch);
  CHECK(loader.next() == nullptr);
  return batches;
}

bool same(const std::vector<Batch>& a, const std::vector<Batch>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Batch& x, const Batch& y) {
    return x.size == y.size && x.pixels == y.pixels && x.labels == y.labels && x.indices == y.indices;
  });
}

}  // namespace

TEST_CASE("an epoch has every image once, in epoch_order, with a smaller last batch") {
  const Numbered data(23);
  Loader loader(data, {.batch = 5, .size = 3, .threads = 2, .seed = 9});
  CHECK(loader.batches_per_epoch() == 5);
  const auto batches = read_epoch(loader, 4);
  REQUIRE(batches.size() == 5);
  std::vector<std::int64_t> seen;
  for (const Batch& batch : batches) {
    seen.insert(seen.end(), batch.indices.begin(), batch.indices.end());
    CHECK(batch.pixels.size() == static_cast<std::size_t>(batch.size * 3 * 3 * 3));
    REQUIRE(batch.labels.size() == static_cast<std::size_t>(batch.size * 2));
    for (std::int64_t i = 0; i < batch.size; ++i) {
      const auto at = static_cast<std::size_t>(i);
      CHECK(batch.labels[at] == batch.indices[at] % 2);
      CHECK(batch.labels[at + static_cast<std::size_t>(batch.size)] == batch.indices[at] % 3 - 1);
      CHECK(batch.pixels[at * 27 + 13] == batch.indices[at]);
    }
  }
  CHECK(seen == facet::epoch_order(23, 9, 4));
  CHECK(batches.back().size == 3);
}

TEST_CASE("images are resized in the requested mode") {
  facet::MemoryDataset data({{"a", {"x", "y"}}});
  const facet::Image image = facet::noise(30, 20);
  data.add(image, {0});
  for (const facet::ResizeMode mode : {facet::ResizeMode::squash, facet::ResizeMode::crop}) {
    Loader loader(data, {.size = 14, .resize = mode, .flip = false});
    facet::Bytes expected(14 * 14 * 3);
    facet::resize(image, 14, mode, expected);
    CHECK(read_epoch(loader, 0).front().pixels == expected);

    // A size that isn't square, with the flip of its rows.
    facet::Bytes narrow(14 * 9 * 3);
    facet::resize(image, {14, 9}, mode, narrow);
    facet::Bytes mirrored;
    for (std::size_t row = 0; row < 14; ++row) {
      for (std::size_t x = 9; x-- > 0;) {
        const auto pixel = narrow.begin() + static_cast<std::ptrdiff_t>((row * 9 + x) * 3);
        mirrored.insert(mirrored.end(), pixel, pixel + 3);
      }
    }
    Loader narrow_loader(data, {.size = {14, 9}, .resize = mode});
    bool kept = false, flipped = false;
    for (std::int64_t epoch = 0; epoch < 20; ++epoch) {
      const facet::Bytes pixels = read_epoch(narrow_loader, epoch).front().pixels;
      kept = kept || pixels == narrow;
      flipped = flipped || pixels == mirrored;
      CHECK((pixels == narrow || pixels == mirrored));
    }
    CHECK(kept);
    CHECK(flipped);
  }
  CHECK(!facet::error_of([&] { Loader loader(data, {.resize = static_cast<facet::ResizeMode>(9)}); }).empty());
}

TEST_CASE("a data set is asked for each image with the loader's size, resize mode and seed, and the epoch") {
  /// One image, which remembers what it was asked for.
  class Asked final : public facet::Dataset {
   public:
    std::int64_t size() const override { return 1; }
    const std::vector<facet::Head>& heads() const override { return heads_; }
    std::span<const std::int32_t> labels(std::int64_t) const override { return labels_; }
    void load(const facet::LoadRequest& request, std::span<std::uint8_t> pixels) const override {
      CHECK(pixels.size() == 4 * 6 * 3);
      last = request;
    }
    std::string name(std::int64_t) const override { return "the image"; }
    mutable facet::LoadRequest last = {.index = -1};

   private:
    std::vector<facet::Head> heads_{{"a", {"x", "y"}}};
    std::vector<std::int32_t> labels_{0};
  };
  const Asked data;
  Loader loader(data, {.size = {4, 6}, .resize = facet::ResizeMode::crop, .seed = 7});
  for (const std::int64_t epoch : {3, 4}) {
    read_epoch(loader, epoch);
    CHECK(data.last.index == 0);
    CHECK(data.last.size == facet::ImageSize(4, 6));
    CHECK(data.last.resize == facet::ResizeMode::crop);
    CHECK(data.last.seed == 7);
    CHECK(data.last.epoch == epoch);
  }
}

TEST_CASE("drop_last omits the smaller batch; without shuffle the order is that of the data set") {
  const Numbered data(23);
  Loader loader(data, {.batch = 5, .size = 3, .shuffle = false, .drop_last = true});
  CHECK(loader.batches_per_epoch() == 4);
  const auto batches = read_epoch(loader, 0);
  REQUIRE(batches.size() == 4);
  CHECK(batches[3].indices == std::vector<std::int64_t>{15, 16, 17, 18, 19});
}

TEST_CASE("batches don't depend on threads and prefetch, in any epoch") {
  Numbered data(50);
  data.delay_ms = 1;
  Loader one(data, {.batch = 8, .size = 4, .threads = 1, .seed = 3});
  Loader four(data, {.batch = 8, .size = 4, .threads = 4, .seed = 3, .prefetch = 2});
  for (const std::int64_t epoch : {0, 1, 7}) CHECK(same(read_epoch(one, epoch), read_epoch(four, epoch)));
  CHECK(!same(read_epoch(one, 1), read_epoch(four, 2)));
}

TEST_CASE("an epoch can start at any batch, and at any time") {
  const Numbered data(50);
  Loader loader(data, {.batch = 8, .size = 4, .threads = 3, .seed = 3});
  const auto whole = read_epoch(loader, 2);
  for (const std::int64_t first : {0, 1, 5, 6, 7}) {
    const auto rest = read_epoch(loader, 2, first);
    CHECK(same(rest, {whole.begin() + first, whole.end()}));
  }
  for (int i = 0; i < 20; ++i) {
    loader.start_epoch(i);
    if (i % 2 == 0) loader.next();
  }
  CHECK(same(read_epoch(loader, 2), whole));
  CHECK(!facet::error_of([&] { loader.start_epoch(0, 8); }).empty());
  CHECK(!facet::error_of([&] { loader.start_epoch(0, -1); }).empty());
}

TEST_CASE("about half of the images are mirrored, as a function of seed, epoch and image") {
  const Numbered data(400);
  const auto mirrored = [&](std::int64_t batch, std::uint64_t seed, std::int64_t epoch) {
    Loader loader(data, {.batch = batch, .size = 3, .threads = 2, .seed = seed, .shuffle = false});
    Loader plain(data, {.batch = batch, .size = 3, .threads = 2, .seed = seed, .shuffle = false, .flip = false});
    const auto flips = read_epoch(loader, epoch);
    const auto originals = read_epoch(plain, epoch);
    std::vector<bool> result;
    for (std::size_t b = 0; b < flips.size(); ++b) {
      for (std::int64_t i = 0; i < flips[b].size; ++i) {
        const auto at = static_cast<std::size_t>(i * 27);
        result.push_back(flips[b].pixels[at] != originals[b].pixels[at]);
      }
    }
    return result;
  };
  const auto some = mirrored(64, 1, 0);
  const auto count = std::count(some.begin(), some.end(), true);
  CHECK(count > 150);
  CHECK(count < 250);
  CHECK(mirrored(7, 1, 0) == some);
  CHECK(mirrored(64, 2, 0) != some);
  CHECK(mirrored(64, 1, 1) != some);
}

TEST_CASE("next throws the error of the first bad image in the epoch's order, at its batch") {
  for (const int threads : {1, 4}) {
    Numbered data(40, {13, 11, 30});
    data.delay_ms = 2;  // image 13 is decoded before image 11
    Loader loader(data, {.batch = 5, .size = 3, .threads = threads, .shuffle = false});
    loader.start_epoch(0);
    CHECK(loader.next() != nullptr);
    CHECK(loader.next()->indices[0] == 5);
    CHECK(facet::error_of([&] { loader.next(); }) == "image 11 is bad");
    CHECK(facet::error_of([&] { loader.next(); }) == "image 11 is bad");
    loader.start_epoch(0, 3);
    CHECK(loader.next()->indices[0] == 15);
  }
}

TEST_CASE("invalid labels of a data set are errors") {
  const auto error = [](const facet::Dataset& data) {
    return facet::error_of([&] {
      Loader loader(data, {.batch = 5, .size = 3, .shuffle = false});
      read_epoch(loader, 0);
    });
  };
  for (const std::int32_t label : {2, -2, 1000}) {
    Numbered data(10);
    data.set_label(7, 1, label);
    CHECK(error(data) ==
          "7: the label of head 'b' is " + std::to_string(label) + "; 0 to 1 are allowed, and -1 for no label");
  }
  /// A data set with one label too few or too many.
  class Other final : public facet::Dataset {
   public:
    explicit Other(std::size_t labels) : labels_(labels, 0) {}
    std::int64_t size() const override { return 3; }
    const std::vector<facet::Head>& heads() const override { return heads_; }
    std::span<const std::int32_t> labels(std::int64_t) const override { return labels_; }
    void load(const facet::LoadRequest&, std::span<std::uint8_t>) const override {}
    std::string name(std::int64_t index) const override { return "other " + std::to_string(index); }

   private:
    std::vector<facet::Head> heads_{{"a", {"0", "1"}}, {"b", {"x", "y"}}};
    std::vector<std::int32_t> labels_;
  };
  CHECK(error(Other(2)).empty());
  CHECK(error(Other(1)) == "other 0: the image has 1 labels; one for each of 2 heads is needed");
  CHECK(error(Other(3)) == "other 0: the image has 3 labels; one for each of 2 heads is needed");
}

TEST_CASE("at most `prefetch` batches are decoded ahead, in buffers that are reused") {
  const Numbered data(1000);
  Loader loader(data, {.batch = 10, .size = 3, .threads = 4, .prefetch = 3});
  std::set<const std::uint8_t*> buffers;
  for (int epoch = 0; epoch < 2; ++epoch) {
    const int before = data.loads;
    loader.start_epoch(epoch);
    for (int taken = 1; const Batch* batch = loader.next(); ++taken) {
      buffers.insert(batch->pixels.data());
      CHECK(data.loads - before <= 10 * (taken + 3));
    }
  }
  CHECK(buffers.size() <= 4);
}

TEST_CASE("the requested number of threads works, even on fewer cores") {
  Numbered data(60);
  data.delay_ms = 5;
  Loader loader(data, {.batch = 30, .size = 3, .threads = 4});
  read_epoch(loader, 0);
  CHECK(data.max_running >= 2);
  CHECK(data.max_running <= 4);
}

TEST_CASE("without a requested number, there are enough threads to keep the caller from waiting") {
  if (facet::usable_cores() < 2) return;  // on one core there is never a second thread
  using Clock = std::chrono::steady_clock;
  Numbered data(9 * 60);
  data.delay_ms = 10;
  Loader loader(data, {.batch = 9, .size = 2});  // 90 ms per batch on one thread
  loader.start_epoch(0);
  CHECK(loader.threads() == 1);
  std::chrono::duration<double> waited{}, all{};
  for (int batch = 0; batch < 60; ++batch) {
    const Clock::time_point wait_start = Clock::now();
    REQUIRE(loader.next() != nullptr);
    const Clock::time_point began = Clock::now();
    std::this_thread::sleep_for(std::chrono::milliseconds(65));
    if (batch < 20) continue;
    waited += began - wait_start;
    all += Clock::now() - wait_start;
  }
  CHECK(loader.threads() == 2);
  CHECK(waited / all < 0.02);

  // One slow batch is enough to add threads.
  Numbered slow(9 * 60);
  slow.delay_ms = 60;
  Loader few(slow, {.batch = 9, .size = 2});
  few.start_epoch(0);
  REQUIRE(few.next() != nullptr);
  CHECK(few.threads() > 1);

  // A caller that needs few batches gets one thread.
  const Numbered fast(9 * 60);
  Loader idle(fast, {.batch = 9, .size = 2});
  idle.start_epoch(0);
  for (int batch = 0; batch < 60; ++batch) {
    REQUIRE(idle.next() != nullptr);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  CHECK(idle.threads() <= 2);  // a second one may be added while the machine is busy
}

TEST_CASE("a loader can be destroyed while it decodes") {
  Numbered data(10000);
  data.delay_ms = 1;
  for (const int threads : {1, 4}) {
    for (int i = 0; i < 10; ++i) {
      const auto start = std::chrono::steady_clock::now();
      {
        Loader loader(data, {.batch = 500, .size = 3, .threads = threads});
        loader.start_epoch(i);
        if (i % 3 == 1) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(2));
    }
  }
  Loader never_started(data, {});
}

TEST_CASE("an empty data set has no batches; invalid options are errors") {
  const Numbered none(0);
  Loader loader(none, {.batch = 4, .size = 3});
  CHECK(loader.batches_per_epoch() == 0);
  CHECK(!facet::error_of([&] { loader.next(); }).empty());
  CHECK(read_epoch(loader, 0).empty());
  CHECK(facet::contains(facet::error_of([&] { Loader(none, {.batch = 0}); }), "batch is 0; at least 1"));
  for (const facet::ImageSize size : {facet::ImageSize(0), facet::ImageSize(0, 5), facet::ImageSize(5, -1)}) {
    CHECK(facet::contains(facet::error_of([&] { Loader(none, {.size = size}); }), "size is " + to_string(size)));
  }
  CHECK(facet::contains(facet::error_of([&] { Loader(none, {.threads = -1}); }), "threads is -1; 0 to 4096"));
  CHECK(facet::contains(facet::error_of([&] { Loader(none, {.threads = 4097}); }), "threads is 4097; 0 to 4096"));
  CHECK(facet::contains(facet::error_of([&] { Loader(none, {.prefetch = 0}); }), "prefetch is 0"));
}

TEST_CASE("batches that exceed the memory are an error, even if their size overflows") {
  const Numbered data(100);
  const auto error = [&](const LoaderOptions& options) { return facet::error_of([&] { Loader(data, options); }); };
  CHECK(facet::contains(error({.size = 100'000}),
                        "loader: 3 batches of 64 images at 100000x100000 take 5760000003072 "
                        "bytes of memory; "));
  CHECK(facet::contains(error({.size = 2'147'483'647}), "bytes of memory; "));
  CHECK(error({.batch = std::int64_t{1} << 62, .size = 3, .prefetch = 2'147'483'647}).empty());
  Numbered huge(1);
  for (const std::int64_t size : {std::int64_t{-1}, std::int64_t{1} << 32, std::int64_t{1} << 62}) {
    huge.set_size(size);
    CHECK(facet::contains(facet::error_of([&] { Loader(huge, {}); }),
                          "the data set holds " + std::to_string(size) + " images; 0 to 4294967295 are allowed"));
  }
}

TEST_CASE("a batch larger than the data set contains all of it") {
  const Numbered data(10);
  Loader loader(data, {.batch = std::int64_t{1} << 62, .size = 3, .shuffle = false, .prefetch = 1000});
  CHECK(loader.batches_per_epoch() == 1);
  for (int epoch = 0; epoch < 3; ++epoch) {
    const auto batches = read_epoch(loader, epoch);
    REQUIRE(batches.size() == 1);
    CHECK(batches[0].size == 10);
  }
  CHECK(read_epoch(loader, 0, 1).empty());
}

TEST_CASE("a data set that changes while it is used is an error at each call until the change is undone") {
  for (const std::int64_t size : {24, 22, 0}) {
    Numbered data(23);
    Loader loader(data, {.batch = 5, .size = 3, .shuffle = false, .prefetch = 1});
    loader.start_epoch(0);
    loader.next();
    data.set_size(size);
    const std::string message =
        "loader: the data set holds " + std::to_string(size) +
        " images and held 23 when the loader was made; it must not change while a loader uses it";
    CHECK(facet::error_of([&] { loader.next(); }) == message);
    CHECK(facet::error_of([&] { loader.next(); }) == message);
    CHECK(facet::error_of([&] { loader.start_epoch(1); }) == message);
    CHECK(loader.batches_per_epoch() == 5);
    data.set_size(23);
    CHECK(loader.next()->indices[0] == 5);
  }
  Numbered data(23);
  Loader loader(data, {.batch = 5, .size = 3});
  loader.start_epoch(0);
  data.rename_class();
  CHECK(facet::contains(facet::error_of([&] { loader.next(); }), "the data set's heads have changed"));
  CHECK(facet::contains(facet::error_of([&] { loader.start_epoch(0); }), "the data set's heads have changed"));
}

TEST_CASE("a loader of a temporary data set does not compile") {
  static_assert(std::is_constructible_v<Loader, facet::MemoryDataset&, LoaderOptions>);
  static_assert(std::is_constructible_v<Loader, const facet::Dataset&, LoaderOptions>);
  static_assert(!std::is_constructible_v<Loader, facet::MemoryDataset, LoaderOptions>);
  static_assert(!std::is_constructible_v<Loader, const facet::ManifestDataset, LoaderOptions>);
}

namespace {

/// Images that must all be loaded at the same time, and that record the concurrency of oneTBB.
class Together final : public facet::Dataset {
 public:
  explicit Together(std::int64_t size) : size_(size), all_(size) {}
  std::int64_t size() const override { return size_; }
  const std::vector<facet::Head>& heads() const override { return heads_; }
  std::span<const std::int32_t> labels(std::int64_t) const override { return labels_; }
  std::string name(std::int64_t index) const override { return std::to_string(index); }
  void load(const facet::LoadRequest&, std::span<std::uint8_t>) const override {
    all_.arrive_and_wait();
    concurrency = tbb::this_task_arena::max_concurrency();
    tbb::parallel_for(0, 100, [this](int) {
      const std::lock_guard lock(mutex_);
      threads.insert(std::this_thread::get_id());
    });
  }

  mutable std::atomic<int> concurrency = 0;
  mutable std::set<std::thread::id> threads;

 private:
  std::int64_t size_;
  mutable std::latch all_;
  mutable std::mutex mutex_;
  std::vector<facet::Head> heads_{{"a", {"0", "1"}}};
  std::vector<std::int32_t> labels_{0};
};

}  // namespace

TEST_CASE("all requested threads work, even hundreds") {
  const Together data(600);
  Loader loader(data, {.batch = 600, .size = 3, .threads = 600, .prefetch = 1});
  CHECK(read_epoch(loader, 0).size() == 1);
}

TEST_CASE("a data set that uses oneTBB itself runs on the loader's threads") {
  const Together data(3);
  Loader loader(data, {.batch = 3, .size = 3, .threads = 3, .prefetch = 1});
  CHECK(read_epoch(loader, 0).size() == 1);
  CHECK(data.concurrency == 3);
  CHECK(data.threads.size() <= 3);
}
