#include "facet/sampler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "data/make_jpeg.h"
#include "facet/loader.h"

using facet::Batch;
using facet::BatchPlan;
using facet::contains;
using facet::error_of;
using facet::Loader;
using facet::PositionRange;
using facet::share_of;

namespace {

using Indices = std::vector<std::int64_t>;

facet::MemoryDataset images(int count) {
  facet::MemoryDataset data({{"a", {"x", "y", "z"}}, {"b", {"p", "q"}}});
  for (int i = 0; i < count; ++i) {
    data.add(facet::noise(4, 3, static_cast<std::uint32_t>(i + 1)), {i % 3, i % 4 == 0 ? facet::no_label : i % 2});
  }
  return data;
}

std::vector<Batch> read_epoch(Loader& loader, std::int64_t epoch, std::int64_t first = 0) {
  std::vector<Batch> batches;
  loader.start_epoch(epoch, first);
  while (const Batch* batch = loader.next()) batches.push_back(*batch);
  return batches;
}

/// Appends the images of `part` to `batch`.
void append(Batch& batch, const Batch& part) {
  const auto heads = [](const Batch& of) { return of.size == 0 ? 0 : of.labels.size() / of.indices.size(); };
  std::vector<std::int32_t> labels;
  for (std::size_t h = 0; h < std::max(heads(batch), heads(part)); ++h) {
    for (const Batch* each : {static_cast<const Batch*>(&batch), &part}) {
      const auto begin = each->labels.begin() + static_cast<std::ptrdiff_t>(h) * each->size;
      labels.insert(labels.end(), begin, begin + each->size);
    }
  }
  batch.labels = std::move(labels);
  batch.size += part.size;
  batch.pixels.insert(batch.pixels.end(), part.pixels.begin(), part.pixels.end());
  batch.indices.insert(batch.indices.end(), part.indices.begin(), part.indices.end());
}

bool same(const Batch& a, const Batch& b) {
  return a.size == b.size && a.pixels == b.pixels && a.labels == b.labels && a.indices == b.indices;
}

/// Takes a few images many times, or whatever the test sets.
class Chosen final : public facet::Sampler {
 public:
  explicit Chosen(Indices order) : planned_(std::ssize(order)), order_(std::move(order)) {}
  std::int64_t epoch_size(std::int64_t) const override { return planned_; }
  Indices order(std::int64_t, std::uint64_t, std::int64_t epoch) const override {
    Indices order = order_;
    for (std::int64_t& image : order) image += epoch;
    return order;
  }
  void set_planned(std::int64_t planned) { planned_ = planned; }

 private:
  std::int64_t planned_;
  Indices order_;
};

}  // namespace

TEST_CASE("the samplers' orders are functions of count, seed and epoch") {
  const facet::SequentialSampler sequential;
  const facet::ShuffledSampler shuffled, another;
  CHECK(sequential.order(4, 7, 3) == Indices{0, 1, 2, 3});
  CHECK(shuffled.order(100, 7, 3) == facet::epoch_order(100, 7, 3));
  CHECK(shuffled.order(100, 7, 3) == another.order(100, 7, 3));
  CHECK(shuffled.order(100, 7, 3) != another.order(100, 7, 4));
  CHECK(shuffled.order(100, 7, 3) != another.order(100, 8, 3));
  CHECK(shuffled.epoch_size(100) == 100);
  // An order that is drawn differently would break runs that are resumed.
  CHECK(facet::epoch_order(8, 1, 2) == Indices{4, 3, 0, 2, 1, 7, 5, 6});
  for (const std::int64_t count : {std::int64_t{-1}, std::int64_t{1} << 32}) {
    CHECK(contains(error_of([&] { sequential.order(count, 0, 0); }), "0 to 2^32 - 1 are allowed"));
    CHECK(contains(error_of([&] { shuffled.order(count, 0, 0); }), "0 to 2^32 - 1 are allowed"));
  }
}

TEST_CASE("shares are contiguous, in the order of the ranks, and differ by at most one item") {
  CHECK(share_of(64, 0, 3) == PositionRange{0, 22});
  CHECK(share_of(64, 1, 3) == PositionRange{22, 21});
  CHECK(share_of(64, 2, 3) == PositionRange{43, 21});
  CHECK(share_of(2, 2, 4) == PositionRange{2, 0});
  for (const std::int64_t count : {0, 1, 5, 12, 100}) {
    for (const std::int64_t world : {1, 2, 3, 5, 8, 200}) {
      std::int64_t next = 0;
      for (std::int64_t rank = 0; rank < world; ++rank) {
        const PositionRange share = share_of(count, rank, world);
        CHECK(share.first == next);
        CHECK(share.size >= count / world);
        CHECK(share.size <= count / world + (rank < count % world ? 1 : 0));
        next += share.size;
      }
      CHECK(next == count);
    }
  }
  CHECK(error_of([] { share_of(3, 2, 2); }) == "rank is 2; 0 to 1 are allowed");
  CHECK(error_of([] { share_of(3, -1, 2); }) == "rank is -1; 0 to 1 are allowed");
  CHECK(error_of([] { share_of(3, 0, 0); }) == "world is 0; at least 1 process is needed");
  CHECK(error_of([] { share_of(-3, 0, 1); }) == "-3 items are shared between processes; at least 0 are needed");
}

TEST_CASE("a plan divides an epoch into batches and shares") {
  const BatchPlan plan{.images = 11, .batch = 4, .rank = 1, .world = 3};
  CHECK(plan.batches() == 3);
  CHECK(plan.whole(2) == PositionRange{8, 3});
  CHECK(plan.share(0) == PositionRange{2, 1});
  CHECK(plan.share(2) == PositionRange{9, 1});
  CHECK(BatchPlan{.images = 11, .batch = 4, .drop_last = true}.batches() == 2);
  CHECK(BatchPlan{.images = 12, .batch = 4}.batches() == 3);
  for (const std::int64_t index : {-1, 3}) {
    const std::string message = "batch " + std::to_string(index) + " is requested; 0 to 2 are allowed";
    CHECK(error_of([&] { plan.whole(index); }) == message);
    CHECK(error_of([&] { plan.share(index); }) == message);
  }
  const BatchPlan none{.batch = 4}, no_batch{.images = 11, .batch = 0}, negative{.images = -1};
  CHECK(none.batches() == 0);
  CHECK(error_of([&] { none.whole(0); }) == "batch 0 is requested; the epoch has none");
  CHECK(error_of([&] { negative.batches(); }) == "an epoch of -1 images is planned; at least 0 are needed");
  CHECK(error_of([&] { no_batch.batches(); }) == "a batch of 0 images is planned; at least 1 is needed");
  CHECK(error_of([&] { no_batch.whole(0); }) == "a batch of 0 images is planned; at least 1 is needed");
  CHECK(error_of([&] { no_batch.share(0); }) == "a batch of 0 images is planned; at least 1 is needed");
}

TEST_CASE("the shares of all processes, in the order of their ranks, are the batches of one process") {
  struct Case {
    int count, batch, world;
    bool drop_last;
  };
  for (const Case& each : {Case{23, 8, 2, false}, Case{23, 8, 3, false}, Case{23, 8, 3, true}, Case{24, 8, 4, false},
                           Case{17, 8, 8, false}, Case{17, 5, 5, true}, Case{3, 8, 4, false}, Case{0, 4, 2, false}}) {
    CAPTURE(each.count);
    CAPTURE(each.world);
    const facet::MemoryDataset data = images(each.count);
    facet::LoaderOptions options{
        .batch = each.batch, .size = {3, 5}, .threads = 2, .seed = 6, .drop_last = each.drop_last, .prefetch = 2};
    Loader alone(data, options);
    for (const std::int64_t first : {std::int64_t{0}, alone.batches_per_epoch() / 2, alone.batches_per_epoch()}) {
      const std::vector<Batch> expected = read_epoch(alone, 5, first);
      std::vector<Batch> all(expected.size());
      for (int rank = 0; rank < each.world; ++rank) {
        options.rank = rank;
        options.world = each.world;
        Loader loader(data, options);
        CHECK(loader.batches_per_epoch() == alone.batches_per_epoch());
        const std::vector<Batch> parts = read_epoch(loader, 5, first);
        REQUIRE(parts.size() == expected.size());  // no process waits for a batch that another doesn't have
        for (std::size_t b = 0; b < parts.size(); ++b) {
          CHECK(parts[b].size == share_of(expected[b].size, rank, each.world).size);
          append(all[b], parts[b]);
        }
      }
      for (std::size_t b = 0; b < expected.size(); ++b) CHECK(same(all[b], expected[b]));
      options.rank = 0;
      options.world = 1;
    }
  }
}

TEST_CASE("processes hold memory for their shares alone") {
  const facet::MemoryDataset data = images(64);
  const Loader one(data, {.batch = 32, .size = 8}), four(data, {.batch = 32, .size = 8, .rank = 3, .world = 4});
  CHECK(four.held_bytes() == one.held_bytes() / 4);
}

TEST_CASE("invalid ranks and worlds are errors") {
  const facet::MemoryDataset data = images(4);
  const auto error = [&](const facet::LoaderOptions& options) { return error_of([&] { Loader(data, options); }); };
  CHECK(error({.world = 0}) == "loader: world is 0; at least 1 is needed");
  CHECK(error({.rank = 2, .world = 2}) == "loader: rank is 2; 0 to 1 are allowed");
  CHECK(error({.rank = -1}) == "loader: rank is -1; 0 to 0 are allowed");
  CHECK(error({.batch = 3, .world = 4}) == "loader: batch is 3; at least 4 is needed");
}

TEST_CASE("an image that occurs again in an epoch is transformed by draws of its own, the same for any processes") {
  const facet::MemoryDataset data = images(4);
  Indices order;
  for (int i = 0; i < 64; ++i) order.push_back(i % 2);
  const auto sampler = std::make_shared<Chosen>(order);
  const auto mirrored = [&](const Batch& batch, std::int64_t position) {  // compared with the image as it is
    const std::size_t bytes = std::size_t{8} * 8 * 3;
    facet::Bytes plain(bytes);
    data.load({.index = batch.indices[static_cast<std::size_t>(position)], .size = 8}, plain);
    return !std::equal(plain.begin(), plain.end(),
                       batch.pixels.begin() + position * static_cast<std::ptrdiff_t>(bytes));
  };
  facet::LoaderOptions options{.batch = 16, .size = 8, .seed = 3, .sampler = sampler};
  Loader loader(data, options);
  const std::vector<Batch> batches = read_epoch(loader, 0);
  REQUIRE(batches.size() == 4);
  std::int64_t flips = 0;
  for (const Batch& batch : batches) {
    for (std::int64_t position = 0; position < 16; ++position) flips += mirrored(batch, position) ? 1 : 0;
  }
  CHECK(flips > 16);
  CHECK(flips < 48);
  // What occurs for the first time is as without a sampler.
  Loader shuffled(data, {.batch = 2, .size = 8, .seed = 3, .shuffle = false});
  shuffled.start_epoch(0);
  const Batch* const first = shuffled.next();
  for (const std::int64_t position : {0, 1}) CHECK(mirrored(*first, position) == mirrored(batches[0], position));
  // An epoch that begins later, and a process with a share of it, have the same images.
  CHECK(same(read_epoch(loader, 0, 2)[1], batches[3]));
  Batch joined;
  for (int rank = 0; rank < 3; ++rank) {
    options.rank = rank;
    options.world = 3;
    Loader part(data, options);
    append(joined, read_epoch(part, 0)[1]);
  }
  CHECK(same(joined, batches[1]));
}

TEST_CASE("weights decide how often an image is drawn") {
  const std::vector<double> weights{0, 1, 0, 2, 5, 0};
  std::vector<double> many;
  for (int i = 0; i < 1000; ++i) many.insert(many.end(), weights.begin(), weights.end());
  const facet::WeightedRandomSampler sampler(many);
  const Indices order = sampler.order(6000, 4, 1);
  REQUIRE(order.size() == 6000);
  std::vector<double> drawn(6);
  for (const std::int64_t image : order) ++drawn[static_cast<std::size_t>(image % 6)];
  for (std::size_t i = 0; i < 6; ++i) {
    CHECK(drawn[i] == doctest::Approx(750 * weights[i]).epsilon(0.15));
    if (weights[i] == 0) CHECK(drawn[i] == 0);
  }
  CHECK(sampler.order(6000, 4, 1) == order);
  CHECK(sampler.order(6000, 4, 2) != order);
  CHECK(sampler.order(6000, 5, 1) != order);
  // A draw that changes would break runs that are resumed.
  CHECK(facet::WeightedRandomSampler({1, 2, 0, 3, 1, 1, 4, 2}).order(8, 1, 2) == Indices{7, 7, 5, 3, 6, 7, 0, 3});
}

TEST_CASE("weights that aren't allowed, or of another data set, are errors") {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const auto error = [](const std::vector<double>& weights) {
    return error_of([&] { facet::WeightedRandomSampler sampler(weights); });
  };
  CHECK(error({1, -2}) == "the sampler's weight of image 1 is -2; finite numbers of at least 0 are allowed");
  CHECK(contains(error({infinity}), "weight of image 0 is inf"));
  CHECK(contains(error({std::numeric_limits<double>::quiet_NaN()}), "weight of image 0 is nan"));
  CHECK(contains(error({1e308, 1e308}), "the sum of the sampler's weights isn't finite"));
  CHECK(error({0, 0}) == "the sampler has no weight above 0; at least one is needed");
  CHECK(error({}) == "the sampler has no weight above 0; at least one is needed");
  CHECK(error_of([] {
          facet::WeightedRandomSampler({1, 2}).order(3, 0, 0);
        }) == "the sampler has 2 weights; the data set holds 3 images");
}

TEST_CASE("balanced weights make the classes of a head equally likely, and images without a label average") {
  facet::MemoryDataset data({{"a", {"x", "y", "z"}}});
  for (const std::int32_t label : {0, 0, 0, 1, facet::no_label}) data.add(facet::noise(2, 2), {label});
  const std::vector<double> weights = facet::class_balanced_weights(data, "a");
  REQUIRE(weights.size() == 5);
  CHECK(weights[0] == doctest::Approx(1.0 / 3));
  CHECK(weights[3] == 1);
  CHECK(weights[4] == 0.5);  // two classes, four images
  CHECK(error_of([&] { facet::class_balanced_weights(data, "b"); }) ==
        "class_balanced_weights: the data set has no head b; its heads are a");
  facet::MemoryDataset bare({{"a", {"x", "y"}}});
  bare.add(facet::noise(2, 2), {facet::no_label});
  CHECK(error_of([&] { facet::class_balanced_weights(bare, "a"); }) ==
        "class_balanced_weights: no image has a label of a to balance by");
}

TEST_CASE("a sampler of another kind decides the images of an epoch") {
  const facet::MemoryDataset data = images(4);
  const auto sampler = std::make_shared<Chosen>(Indices{1, 1, 0, 2, 1});
  Loader loader(data, {.batch = 2, .size = 3, .flip = false, .sampler = sampler});
  CHECK(loader.batches_per_epoch() == 3);
  const std::vector<Batch> batches = read_epoch(loader, 1);
  REQUIRE(batches.size() == 3);
  CHECK(batches[0].indices == Indices{2, 2});
  CHECK(batches[1].indices == Indices{1, 3});
  CHECK(batches[2].indices == Indices{2});

  // An order that doesn't fit is refused, and leaves the epoch in progress as it is.
  loader.start_epoch(0);
  loader.next();
  CHECK(error_of([&] { loader.start_epoch(2); }) == "loader: the sampler's epoch 2 has image 4; 0 to 3 are allowed");
  sampler->set_planned(6);
  CHECK(loader.next()->indices == Indices{0, 2});
  CHECK(error_of([&] { Loader(data, {.size = 3, .sampler = sampler}).start_epoch(0); }) ==
        "loader: the sampler's epoch 0 has 5 images; 6 are needed");
  sampler->set_planned(-1);
  CHECK(contains(error_of([&] { Loader(data, {.sampler = sampler}); }), "the sampler has epochs of -1 images"));
}
