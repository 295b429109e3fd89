#include <doctest/doctest.h>
#include <tbb/global_control.h>

#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "data/linear_model.h"
#include "data/make_jpeg.h"
#include "facet/error.h"
#include "facet/image.h"
#include "facet/manifest.h"
#include "facet/synthetic.h"
#include "synthetic/drawing.h"
#include "testing.h"

using facet::contains;
using facet::error_of;
using facet::ManifestDataset;
using facet::SyntheticOptions;
using facet::write_synthetic_sample;
namespace fs = std::filesystem;

namespace {

constexpr SyntheticOptions small{.train = 126, .validation = 63, .size = 32, .seed = 0};

void write(const fs::path& file, const std::string& text) { std::ofstream(file) << text; }

/// Contents of every file below a folder, by name.
std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream stream(entry.path(), std::ios::binary);
    files[fs::relative(entry.path(), folder).string()] = {std::istreambuf_iterator<char>(stream), {}};
  }
  return files;
}

/// Images of each class of a head.
std::vector<int> class_counts(const ManifestDataset& data, std::size_t head) {
  std::vector<int> counts(data.heads()[head].classes.size());
  for (std::int64_t i = 0; i < data.size(); ++i) ++counts[static_cast<std::size_t>(data.labels(i)[head])];
  return counts;
}

/// Mean difference, in grey levels, of two pictures that are drawn with the same random numbers.
double difference(const facet::synthetic::SyntheticLabels& a, const facet::synthetic::SyntheticLabels& b) {
  const facet::base::RandomStream random(3, facet::base::Purpose::synthesis);
  return facet::mean_difference(draw_synthetic(a, 48, random), draw_synthetic(b, 48, random));
}

}  // namespace

TEST_CASE("a sample is two FairFace-like manifests with every class equally often") {
  const facet::TemporaryFolder folder;
  std::int64_t last = 0;
  write_synthetic_sample(folder.path() / "new" / "sample", small, [&](std::int64_t images) {
    CHECK(images > last);
    last = images;
  });
  CHECK(last == 189);

  const ManifestDataset train(folder.path() / "new" / "sample" / "train.csv");
  REQUIRE(train.size() == 126);
  REQUIRE(train.heads().size() == 3);
  CHECK(train.heads()[0].name == "age");
  CHECK(train.heads()[1].name == "gender");
  CHECK(train.heads()[2].name == "race");
  CHECK(class_counts(train, 0) == std::vector<int>(9, 14));
  CHECK(class_counts(train, 1) == std::vector<int>(2, 63));
  CHECK(class_counts(train, 2) == std::vector<int>(7, 18));

  const ManifestDataset validation(folder.path() / "new" / "sample" / "validation.csv");
  REQUIRE(validation.size() == 63);
  CHECK(validation.heads() == train.heads());
  const facet::Image image = facet::read_image(validation.path(62));
  CHECK(image.width == 32);
  CHECK(image.height == 32);

  std::ifstream csv(folder.path() / "new" / "sample" / "train.csv");
  std::string line;
  std::getline(csv, line);
  CHECK(line == "file,age,gender,race,service_test");
  std::getline(csv, line);
  CHECK(line == "train/figure-000001.jpg,0-2,Male,White,True");
}

TEST_CASE("the same options give the same bytes with any number of threads; an image depends on its number alone") {
  const facet::TemporaryFolder folder;
  write_synthetic_sample(folder.path() / "a", small);
  {
    const tbb::global_control one(tbb::global_control::max_allowed_parallelism, 1);
    write_synthetic_sample(folder.path() / "b", small);
  }
  const auto files = contents(folder.path() / "a");
  CHECK(files.size() == 126 + 63 + 2);
  CHECK(files == contents(folder.path() / "b"));

  SyntheticOptions options = small;
  options.train = 130;
  options.validation = 0;
  write_synthetic_sample(folder.path() / "longer", options);
  auto longer = contents(folder.path() / "longer");
  CHECK(longer.at("train/figure-000126.jpg") == files.at("train/figure-000126.jpg"));
  CHECK(longer.at("validation.csv") == "file,age,gender,race,service_test\n");

  options = small;
  options.seed = 1;
  write_synthetic_sample(folder.path() / "seed", options);
  auto other = contents(folder.path() / "seed");
  CHECK(other.at("train.csv") == files.at("train.csv"));
  for (const auto& [name, bytes] : files) {
    if (!name.ends_with(".jpg")) continue;
    CHECK(other.at(name) != bytes);
  }
  for (int i = 1; i <= 63; ++i) {
    const std::string name = "figure-0000" + std::string(i < 10 ? "0" : "") + std::to_string(i) + ".jpg";
    CHECK(files.at("train/" + name) != files.at("validation/" + name));
  }
}

TEST_CASE("an image that isn't square is the square one, squashed") {
  const facet::TemporaryFolder folder;
  write_synthetic_sample(folder.path() / "wide", {.train = 1, .validation = 0, .size = {48, 96}});
  write_synthetic_sample(folder.path() / "square", {.train = 1, .validation = 0, .size = 96});
  const char* const file = "train/figure-000001.jpg";
  const facet::Image wide = facet::read_image(folder.path() / "wide" / file);
  CHECK(wide.height == 48);
  CHECK(wide.width == 96);
  std::vector<std::uint8_t> squashed(wide.pixels.size());
  facet::resize(facet::read_image(folder.path() / "square" / file), {48, 96}, facet::ResizeMode::squash, squashed);
  CHECK(facet::mean_difference(wide.pixels, squashed) < 4);
}

TEST_CASE("an earlier sample is replaced, complete or not, and leaves no file behind") {
  const facet::TemporaryFolder folder;
  SyntheticOptions options = small;
  options.train = 3;
  options.validation = 2;
  write_synthetic_sample(folder.path() / "fresh", options);
  const auto fresh = contents(folder.path() / "fresh");

  write_synthetic_sample(folder.path() / "old", small);
  write_synthetic_sample(folder.path() / "old", options);
  CHECK(contents(folder.path() / "old") == fresh);

  fs::create_directories(folder.path() / "half" / "train");
  write(folder.path() / "half" / "train" / "figure-000009.jpg", "torn");
  write(folder.path() / "half" / "train.csv.tmp-1-0", "file,a");
  write_synthetic_sample(folder.path() / "half", options);
  CHECK(contents(folder.path() / "half") == fresh);
}

TEST_CASE("a folder that holds anything else is refused and left as it is") {
  const auto refused = [](const std::string& file, const std::string& text) {
    const facet::TemporaryFolder folder;
    write_synthetic_sample(folder.path(), small);
    write(folder.path() / file, text);
    const auto before = contents(folder.path());
    const std::string message = error_of([&] { write_synthetic_sample(folder.path(), small); });
    return contains(message, "is not part of an earlier synthetic sample") &&
           contains(message, folder.path().string()) && contents(folder.path()) == before;
  };
  CHECK(refused("notes.txt", "mine"));
  CHECK(refused("train/1.jpg", "a photograph"));
  CHECK(refused("train.csv", "file,age,gender,race,service_test\ntrain/1.jpg,50-59,Male,East Asian,True\n"));
  CHECK(refused("validation.csv", "file,label\n"));
}

TEST_CASE("invalid options, and a folder that can't be written, are clear errors") {
  const facet::TemporaryFolder folder;
  const auto message = [&](std::int64_t train, std::int64_t validation, int size) {
    const SyntheticOptions options{.train = train, .validation = validation, .size = size, .seed = 0};
    return error_of([&] { write_synthetic_sample(folder.path() / "none", options); });
  };
  CHECK(message(9, 9, 31) == "synthetic sample: size is 31x31; sides of 32 to 2048 are allowed");
  CHECK(message(9, 9, 2049) == "synthetic sample: size is 2049x2049; sides of 32 to 2048 are allowed");
  CHECK(message(-1, 9, 32) ==
        "synthetic sample: -1 training and 9 validation images are requested; at least 0 are allowed");
  CHECK(message(9, -2, 32) ==
        "synthetic sample: 9 training and -2 validation images are requested; at least 0 are allowed");
  CHECK_FALSE(fs::exists(folder.path() / "none"));

  write(folder.path() / "file", "");
  const std::string error = error_of([&] { write_synthetic_sample(folder.path() / "file", small); });
  CHECK(contains(error, (folder.path() / "file").string()));
}

TEST_CASE("each label changes the picture") {
  CHECK(difference({4, 0, 3}, {4, 0, 3}) == 0);
  CHECK(difference({4, 0, 3}, {5, 0, 3}) > 1);
  CHECK(difference({4, 0, 3}, {7, 0, 3}) > 1);
  CHECK(difference({4, 0, 3}, {4, 1, 3}) > 1);
  CHECK(difference({4, 0, 3}, {4, 0, 2}) > 1);
}

// A network classifies at least 90 % correctly in each head; chance is 11, 50 and 14 %.
TEST_CASE("a linear model on pixels learns the mean hue, a third of age, and little else") {
  const facet::TemporaryFolder folder;
  const SyntheticOptions options{.train = 1512, .validation = 504, .size = 32, .seed = 0};
  write_synthetic_sample(folder.path(), options);
  const auto into_memory = [&](const char* csv) {
    const ManifestDataset files(folder.path() / csv);
    facet::MemoryDataset memory(files.heads());
    for (std::int64_t i = 0; i < files.size(); ++i) {
      memory.add(facet::read_image(files.path(i)), {files.labels(i).begin(), files.labels(i).end()});
    }
    return memory;
  };
  const facet::MemoryDataset train = into_memory("train.csv");
  const facet::MemoryDataset validation = into_memory("validation.csv");
  const auto accuracy = [&](std::size_t head) {
    facet::LinearModel model(options.size.height, static_cast<int>(train.heads()[head].classes.size()));
    model.fit(train, head, 8, 2e-4F);
    CHECK(model.accuracy(train, head) > model.accuracy(validation, head));
    return model.accuracy(validation, head);
  };
  const double age = accuracy(0);
  const double gender = accuracy(1);
  const double race = accuracy(2);
  MESSAGE("linear model on pixels: age " << age << ", gender " << gender << ", race " << race);
  CHECK(age > 0.2);
  CHECK(age < 0.45);
  CHECK(gender < 0.62);
  CHECK(race < 0.35);
}
