#include <doctest/doctest.h>

#include <atomic>
#include <set>
#include <stdexcept>

#include "data/make_jpeg.h"
#include "data/stage_clock.h"
#include "facet/loader.h"
#include "facet/source.h"

using facet::Bytes;
using facet::contains;
using facet::EncodedImage;
using facet::error_of;
using facet::SourceDataset;

namespace {

using Indices = std::vector<std::int64_t>;

/// Encoded images in memory, which are handed out without a copy. It has neither lines nor files.
class Shelf : public facet::ImageSource {
 public:
  explicit Shelf(std::vector<Bytes> images) : images_(std::move(images)) {
    for (std::size_t i = 0; i < images_.size(); ++i) labels_.push_back(static_cast<std::int32_t>(i % 2));
  }
  std::int64_t size() const override { return std::ssize(images_); }
  const std::vector<facet::Head>& heads() const override { return heads_; }
  std::span<const std::int32_t> labels(std::int64_t index) const override {
    return std::span(labels_).subspan(static_cast<std::size_t>(index), 1);
  }
  EncodedImage read(std::int64_t index) const override {
    ++reads;
    return {.bytes = images_[static_cast<std::size_t>(index)]};
  }
  std::string title() const override { return "shelf"; }
  std::string name(std::int64_t index) const override { return "book " + std::to_string(index); }
  std::vector<std::string> notes() const override { return {"shelf: dusty"}; }
  Indices missing(std::chrono::milliseconds limit) const override { return limit.count() > 0 ? absent : Indices{}; }

  mutable std::atomic<int> reads = 0;
  Indices absent = {};
  std::vector<facet::Head> heads_{{"a", {"x", "y"}}};

 private:
  std::vector<Bytes> images_;
  std::vector<std::int32_t> labels_;
};

/// A shelf whose images can't be read from the third one on.
class Locked final : public Shelf {
 public:
  using Shelf::Shelf;
  EncodedImage read(std::int64_t index) const override {
    if (index >= 2) throw facet::Error("is locked");
    return Shelf::read(index);
  }
  std::int64_t line(std::int64_t index) const override { return 10 * (index + 1); }
};

Bytes jpeg(int width = 40, int height = 30, double phase = 0) {
  return facet::compress(facet::waves(width, height, phase));
}

Bytes without_end(Bytes bytes) {
  bytes.resize(bytes.size() - 2);
  return bytes;
}

Bytes load(const facet::Dataset& data, std::int64_t index, facet::ImageSize size = 8) {
  Bytes pixels(static_cast<std::size_t>(size.height * size.width * 3));
  data.load({.index = index, .size = size}, pixels);
  return pixels;
}

}  // namespace

TEST_CASE("the images of any source are decoded, resized and put into batches") {
  const facet::TemporaryFolder folder;
  std::vector<Bytes> images;
  for (int i = 0; i < 7; ++i) images.push_back(jpeg(40 + 30 * i, 90 - 10 * i, i));
  const SourceDataset data(std::make_shared<Shelf>(images));
  CHECK(data.size() == 7);
  CHECK(data.heads()[0].name == "a");
  CHECK(data.name(6) == "book 6");
  CHECK(data.line(0) == 0);
  CHECK(data.path(0).empty());
  CHECK(data.notes() == std::vector<std::string>{"shelf: dusty"});

  facet::Loader loader(data, {.batch = 3, .size = {20, 28}, .threads = 2, .shuffle = false, .flip = false});
  loader.start_epoch(0);
  std::int64_t index = 0;
  while (const facet::Batch* batch = loader.next()) {
    for (std::int64_t i = 0; i < batch->size; ++i, ++index) {
      CHECK(batch->labels[static_cast<std::size_t>(i)] == index % 2);
      facet::save(folder / "image.jpg", images[static_cast<std::size_t>(index)]);
      Bytes expected(20 * 28 * 3);
      facet::resize(facet::read_image(folder / "image.jpg", {20, 28}), {20, 28}, facet::ResizeMode::squash, expected);
      const auto begin = batch->pixels.begin() + i * std::ssize(expected);
      CHECK(Bytes(begin, begin + std::ssize(expected)) == expected);
    }
  }
  CHECK(index == 7);
}

TEST_CASE("a StageClock adds up the time of each stage on all threads, and times nothing before and after its life") {
  using facet::data::Stage;
  const SourceDataset data(std::make_shared<Shelf>(std::vector<Bytes>(16, jpeg(400, 300))));
  facet::Loader loader(data, {.batch = 4, .size = 32, .threads = 2});
  const auto load_epoch = [&] {
    loader.start_epoch(0);
    while (loader.next() != nullptr) continue;
  };
  load_epoch();
  {
    const facet::data::StageClock clock;
    for (const Stage stage : facet::data::stages) CHECK(clock.seconds(stage) == 0);
    load_epoch();
    for (const Stage stage : facet::data::stages) CHECK(clock.seconds(stage) > 0);
    CHECK(clock.seconds(Stage::decode) > clock.seconds(Stage::read));  // which hands out bytes in memory
  }
  load_epoch();
}

TEST_CASE("an encoded image owns its bytes") {
  EncodedImage image = facet::encoded_image({1, 2, 3});
  const EncodedImage copy = image;
  image = {};
  CHECK(Bytes(copy.bytes.begin(), copy.bytes.end()) == Bytes{1, 2, 3});
}

TEST_CASE("images of any source that can't be read are dropped; the others keep their names and labels") {
  for (const int threads : {0, 1, 4}) {
    SourceDataset data(std::make_shared<Shelf>(std::vector<Bytes>{{}, jpeg(), {'G', 'I', 'F', '8', '9', 'a'}, jpeg()}));
    std::int64_t done = 0;
    const auto bad = data.drop_bad_images(threads, [&](std::int64_t count) { done = count; });
    CHECK(done == 4);
    REQUIRE(bad.size() == 2);
    CHECK(bad[0].line == 0);
    CHECK(bad[0].name == "book 0");
    CHECK(bad[0].reason == "is empty");
    CHECK(bad[1].reason == "is a GIF; JPEG, PNG and WebP can be read");
    REQUIRE(data.size() == 2);
    CHECK(data.name(0) == "book 1");
    CHECK(data.name(1) == "book 3");
    CHECK(data.labels(1)[0] == 1);
    CHECK(load(data, 1) == load(data, 0));
    CHECK(error_of([&] { data.name(2); }) == "shelf: image 2 is requested; 0 to 1 are allowed");
    CHECK(data.drop_bad_images(threads).empty());
  }
}

TEST_CASE("shares of the images are checked apart from each other, and what they found is dropped at once") {
  const auto shelf = std::make_shared<Locked>(std::vector<Bytes>(5, jpeg()));
  SourceDataset data(shelf);
  CHECK(data.find_bad_images(0, 2, 1).empty());
  const std::map<std::int64_t, std::string> found = data.find_bad_images(2, 2, 2);
  CHECK(found == std::map<std::int64_t, std::string>{{2, "is locked"}, {3, "is locked"}});
  CHECK(data.size() == 5);
  const auto dropped = data.drop(found);
  REQUIRE(dropped.size() == 2);
  CHECK(dropped[1].line == 40);
  CHECK(dropped[1].reason == "is locked");
  CHECK(data.size() == 3);
  CHECK(data.name(2) == "book 4");
  CHECK(contains(error_of([&] { data.find_bad_images(2, 2); }), "2 images from index 2 on are to be checked"));
  CHECK(!error_of([&] { data.drop({{0, "x"}, {3, "y"}}); }).empty());
  CHECK(data.size() == 3);
}

TEST_CASE("a source's targets belong to the right images, also after others are dropped") {
  /// Its second head has values.
  class Valued final : public Shelf {
   public:
    explicit Valued(std::vector<Bytes> images) : Shelf(std::move(images)) {
      heads_ = {{"a", {"x", "y"}}, {"b", {"p", "q"}}};
    }
    std::span<const std::int32_t> labels(std::int64_t) const override { return none_; }
    bool has_targets(std::size_t head) const override { return head == 1; }
    void targets(std::int64_t index, std::size_t head, std::span<float> values) const override {
      REQUIRE(head == 1);
      values[0] = static_cast<float>(index);
      values[1] = 0.5F;
    }

   private:
    std::vector<std::int32_t> none_{facet::no_label, facet::no_label};
  };
  SourceDataset data(std::make_shared<Valued>(std::vector<Bytes>{{}, jpeg(), {}, jpeg()}));
  CHECK(!data.has_targets(0));
  CHECK(data.has_targets(1));
  std::vector<float> values(2);
  data.targets(2, 1, values);
  CHECK(values == std::vector<float>{2, 0.5F});
  CHECK(data.drop_bad_images().size() == 2);
  data.targets(0, 1, values);
  CHECK(values == std::vector<float>{1, 0.5F});
  data.targets(1, 1, values);
  CHECK(values == std::vector<float>{3, 0.5F});
  CHECK(error_of([&] { data.targets(2, 1, values); }) == "shelf: image 2 is requested; 0 to 1 are allowed");

  facet::Loader loader(data, {.batch = 2, .size = 8, .shuffle = false});
  loader.start_epoch(0);
  const facet::Batch* const batch = loader.next();
  CHECK(batch->targets[0].empty());
  CHECK(batch->targets[1] == std::vector<float>{1, 0.5F, 3, 0.5F});

  const SourceDataset plain(std::make_shared<Shelf>(std::vector<Bytes>{jpeg()}));
  CHECK(!plain.has_targets(0));
}

TEST_CASE("an image for which memory runs out isn't dropped: the search ends with its place") {
  class Short final : public Shelf {
   public:
    using Shelf::Shelf;
    EncodedImage read(std::int64_t index) const override {
      if (index == 2) throw facet::Error("no memory is left", facet::ErrorCode::out_of_memory);
      return Shelf::read(index);
    }
  };
  SourceDataset data(std::make_shared<Short>(std::vector<Bytes>{jpeg(), {}, jpeg(), jpeg()}));
  for (const int threads : {1, 3}) {
    try {
      data.drop_bad_images(threads);
      FAIL("the image is dropped");
    } catch (const facet::Error& error) {
      CHECK(std::string(error.what()) == "shelf: book 2: no memory is left");
      CHECK(error.code() == facet::ErrorCode::out_of_memory);
    }
    CHECK(data.size() == 4);
  }
}

TEST_CASE("an image is dropped for an error without a text, too") {
  class Silent final : public Shelf {
   public:
    using Shelf::Shelf;
    EncodedImage read(std::int64_t) const override { throw facet::Error(""); }
  };
  SourceDataset data(std::make_shared<Silent>(std::vector<Bytes>{jpeg()}));
  CHECK(data.drop_bad_images().size() == 1);
  CHECK(data.size() == 0);
}

TEST_CASE("what a source's read throws becomes a message that begins with the image's place") {
  SourceDataset data(std::make_shared<Locked>(std::vector<Bytes>{jpeg(), {1, 2, 3}, jpeg(), jpeg()}));
  CHECK(error_of([&] { load(data, 0); }).empty());
  CHECK(contains(error_of([&] { load(data, 1); }), "shelf:20: book 1: is a file of an unknown format"));
  CHECK(error_of([&] { load(data, 3); }) == "shelf:40: book 3: is locked");
  facet::Loader loader(data, {.batch = 4, .size = 8, .shuffle = false});
  loader.start_epoch(0);
  CHECK(contains(error_of([&] { loader.next(); }), "shelf:20: book 1: "));
  const auto bad = data.drop_bad_images();
  REQUIRE(bad.size() == 3);
  CHECK(bad[1].line == 30);
  CHECK(bad[1].reason == "is locked");
  CHECK(data.line(0) == 10);
  CHECK(error_of([&] { data.line(1); }) == "shelf: image 1 is requested; 0 to 0 are allowed");

  /// Other exceptions are the source's own, and reach the caller.
  class Broken final : public Shelf {
   public:
    using Shelf::Shelf;
    EncodedImage read(std::int64_t) const override { throw std::out_of_range("broken"); }
  };
  SourceDataset broken(std::make_shared<Broken>(std::vector<Bytes>{jpeg(), jpeg()}));
  CHECK_THROWS_AS(load(broken, 0), std::out_of_range);
  CHECK_THROWS_AS(broken.drop_bad_images(), std::out_of_range);
  CHECK(broken.size() == 2);
}

TEST_CASE("defects of a source's images are listed once, in the source's order, also after others are dropped") {
  SourceDataset data(std::make_shared<Shelf>(std::vector<Bytes>{without_end(jpeg()), {}, jpeg(), without_end(jpeg())}));
  load(data, 3);
  load(data, 3);
  REQUIRE(data.warnings().size() == 1);
  CHECK(data.warnings()[0].name == "book 3");
  CHECK(data.drop_bad_images().size() == 1);
  load(data, 2);
  const auto warnings = data.warnings();
  REQUIRE(warnings.size() == 2);
  CHECK(warnings[0].name == "book 0");
  CHECK(warnings[1].name == "book 3");
  CHECK(warnings[1].reason == "the end marker is missing");
}

TEST_CASE("missing images are those that the source names and that weren't dropped") {
  const auto shelf = std::make_shared<Shelf>(std::vector<Bytes>{jpeg(), {}, jpeg(), jpeg()});
  shelf->absent = {1, 3};
  SourceDataset data(shelf);
  const auto missing = data.missing_images();
  REQUIRE(missing.size() == 2);
  CHECK(missing[1].name == "book 3");
  CHECK(missing[1].reason == "no such file");
  CHECK(data.missing_images(std::chrono::milliseconds(0)).empty());
  CHECK(shelf->reads == 0);
  CHECK(data.drop_bad_images().size() == 1);
  REQUIRE(data.missing_images().size() == 1);
  CHECK(data.missing_images()[0].name == "book 3");
}

TEST_CASE("two data sets of one source drop images independently") {
  const auto shelf = std::make_shared<Shelf>(std::vector<Bytes>{jpeg(), {}, jpeg()});
  SourceDataset some(shelf);
  const SourceDataset all(shelf);
  CHECK(some.drop_bad_images().size() == 1);
  CHECK(some.size() == 2);
  CHECK(all.size() == 3);
}

TEST_CASE("a source that is missing, or whose heads are invalid, is refused") {
  CHECK(error_of([] { SourceDataset data(nullptr); }) == "a data set needs a source of images; there is none");
  const auto shelf = std::make_shared<Shelf>(std::vector<Bytes>{jpeg()});
  shelf->heads_ = {{"a", {"x", "x"}}};
  CHECK(error_of([&] { SourceDataset data(shelf); }) == "shelf: head 'a': the class 'x' occurs twice");
}

TEST_CASE("pixels don't depend on what the same thread has decoded before") {
  std::vector<Bytes> images;
  // Sizes that grow and shrink; the large one exceeds what is kept for reuse, and some are turned upright.
  for (const auto& [width, height] : {std::pair{50, 40}, {3000, 2500}, {300, 200}, {9, 70}, {640, 480}, {50, 40}}) {
    images.push_back(jpeg(width, height, width));
    images.push_back(facet::with_orientation(jpeg(width, height, height), 6));
  }
  const auto shelf = std::make_shared<Shelf>(images);
  const SourceDataset reused(shelf);
  for (const facet::ImageSize size : {facet::ImageSize(32), facet::ImageSize(300, 500), facet::ImageSize(4, 3)}) {
    for (std::int64_t i = 0; i < reused.size(); ++i) {
      CAPTURE(i);
      const SourceDataset fresh(shelf);
      CHECK(load(reused, i, size) == load(fresh, i, size));
    }
  }
}
