// Reads real photographs if FACET_TEST_FACES names their folder.
#include <doctest/doctest.h>

#include <chrono>

#include "data/make_jpeg.h"
#include "facet/loader.h"
#include "facet/manifest.h"

using facet::ManifestDataset;

TEST_CASE("a data set of real faces is read quickly, with its own classes") {
  const std::filesystem::path folder = FACET_TEST_FACES;
  if (folder.empty()) {
    MESSAGE("SKIPPED: FACET_TEST_FACES isn't set");
    return;
  }
  ManifestDataset validation(folder / "val.csv");
  REQUIRE(validation.heads().size() == 3);
  CHECK(validation.heads()[0].classes.size() == 9);
  CHECK(validation.heads()[0].classes[1] == "3-9");
  CHECK(validation.heads()[1].classes == std::vector<std::string>{"Male", "Female"});
  CHECK(validation.heads()[2].classes == std::vector<std::string>{"Asian", "Black", "Indian", "Others", "White"});
  CHECK(validation.drop_bad_images().empty());

  facet::Loader loader(validation, {.batch = 64, .size = 224, .threads = 1});
  const auto start = std::chrono::steady_clock::now();
  loader.start_epoch(0);
  std::int64_t images = 0;
  while (const facet::Batch* batch = loader.next()) images += batch->size;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  CHECK(images == validation.size());
  const double images_per_s = static_cast<double>(images) / seconds.count();
  MESSAGE(images_per_s, " images/s by one loader thread");
}
