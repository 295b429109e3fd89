#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "facet/dataset.h"
#include "facet/loader.h"
#include "testing.h"

using facet::Batch;
using facet::Loader;

namespace {

/// Images with values for their second head, except for every third image.
class Valued final : public facet::Dataset {
 public:
  std::int64_t size() const override { return 7; }
  const std::vector<facet::Head>& heads() const override { return heads_; }
  std::span<const std::int32_t> labels(std::int64_t) const override { return labels_; }
  void load(const facet::LoadRequest&, std::span<std::uint8_t> pixels) const override {
    std::fill(pixels.begin(), pixels.end(), std::uint8_t{0});
  }
  std::string name(std::int64_t index) const override { return std::to_string(index); }
  bool has_targets(std::size_t head) const override { return head == 1; }
  void targets(std::int64_t index, std::size_t head, std::span<float> values) const override {
    REQUIRE(head == 1);
    REQUIRE(values.size() == 2);
    if (index % 3 == 2) return;
    values[0] = static_cast<float>(index);
    values[1] = static_cast<float>(index) + 0.5F;
  }

 private:
  std::vector<facet::Head> heads_{{"age", {"young", "old"}}, {"position", {"x", "y"}}};
  std::vector<std::int32_t> labels_{1, facet::no_label};
};

}  // namespace

TEST_CASE("the memory that is checked is the memory that the batches take, with their labels and targets") {
  /// Values of so many outputs that they take most of the memory.
  class Large final : public facet::Dataset {
   public:
    Large(std::int64_t size, bool valued) : size_(size), valued_(valued) {
      for (int i = 0; i < 1000; ++i) heads_[0].classes.push_back(std::to_string(i));
    }
    std::int64_t size() const override { return size_; }
    const std::vector<facet::Head>& heads() const override { return heads_; }
    std::span<const std::int32_t> labels(std::int64_t) const override { return labels_; }
    void load(const facet::LoadRequest&, std::span<std::uint8_t>) const override {}
    std::string name(std::int64_t index) const override { return std::to_string(index); }
    bool has_targets(std::size_t) const override { return valued_; }

   private:
    std::int64_t size_;
    bool valued_;
    std::vector<facet::Head> heads_{{"position", {}}};
    std::vector<std::int32_t> labels_{facet::no_label};
  };
  for (const bool valued : {false, true}) {
    const std::int64_t image = 2 * 2 * 3 + 8 + 4 + (valued ? 4000 : 0);
    const Large few(8, valued), many(std::int64_t{1} << 31, valued);
    CHECK(Loader(few, {.batch = 4, .size = 2, .prefetch = 1}).held_bytes() == 2 * 4 * image);
    const std::string error =
        facet::error_of([&] { Loader(many, {.batch = std::int64_t{1} << 30, .size = 200, .prefetch = 1}); });
    const std::int64_t bytes = (image - 12 + 200 * 200 * 3) << 31;
    CHECK(facet::contains(error, " take " + std::to_string(bytes) + " bytes of memory; "));
  }
}

TEST_CASE("a batch has the values that the data set gives as targets, and NaN where it gives none") {
  const Valued data;
  Loader loader(data, {.batch = 3, .size = 2, .seed = 3, .prefetch = 1});
  for (int epoch = 0; epoch < 2; ++epoch) {
    loader.start_epoch(epoch);
    std::int64_t images = 0;
    while (const Batch* batch = loader.next()) {
      REQUIRE(batch->targets.size() == 2);
      CHECK(batch->targets[0].empty());
      REQUIRE(batch->targets[1].size() == static_cast<std::size_t>(batch->size * 2));
      for (std::int64_t i = 0; i < batch->size; ++i, ++images) {
        const std::int64_t index = batch->indices[static_cast<std::size_t>(i)];
        const float x = batch->targets[1][static_cast<std::size_t>(i * 2)];
        const float y = batch->targets[1][static_cast<std::size_t>(i * 2 + 1)];
        if (index % 3 == 2) {
          CHECK(std::isnan(x));
          CHECK(std::isnan(y));
        } else {
          CHECK(x == static_cast<float>(index));
          CHECK(y == static_cast<float>(index) + 0.5F);
        }
      }
    }
    CHECK(images == 7);
  }
}
