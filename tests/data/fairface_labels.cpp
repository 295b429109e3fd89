// Reads FairFace's own label files if FACET_TEST_FAIRFACE names their folder.
#include <doctest/doctest.h>

#include <numeric>

#include "data/make_jpeg.h"
#include "facet/manifest.h"

using facet::ManifestDataset;

namespace {

std::vector<int> counts(const ManifestDataset& data, std::size_t head) {
  std::vector<int> counts(data.heads()[head].classes.size());
  for (std::int64_t i = 0; i < data.size(); ++i) ++counts[static_cast<std::size_t>(data.labels(i)[head])];
  return counts;
}

}  // namespace

TEST_CASE("FairFace's label files are read as they are distributed") {
  const std::filesystem::path folder = FACET_TEST_FAIRFACE;
  if (folder.empty()) {
    MESSAGE("SKIPPED: FACET_TEST_FAIRFACE isn't set");
    return;
  }
  const ManifestDataset train(folder / "fairface_label_train.csv");
  CHECK(train.size() == 86744);
  REQUIRE(train.heads().size() == 3);
  CHECK(train.heads()[0].classes.size() == 9);
  CHECK(counts(train, 0) == std::vector<int>{1792, 10408, 9103, 25598, 19250, 10744, 6228, 2779, 842});
  CHECK(counts(train, 1) == std::vector<int>{45986, 40758});
  CHECK(counts(train, 2) == std::vector<int>{16527, 12233, 13367, 12287, 10795, 12319, 9216});
  REQUIRE(train.notes().size() == 2);
  CHECK(facet::contains(train.notes()[0], "19-Oct as 10-19 (9103 rows), 9-Mar as 3-9 (10408 rows)"));
  CHECK(train.name(86743) == "train/86744.jpg");
  CHECK(train.line(86743) == 86745);

  const ManifestDataset validation(folder / "fairface_label_val.csv", {.expected = train.heads()});
  CHECK(validation.size() == 10954);
  CHECK(counts(validation, 0)[1] == 1356);
  CHECK(validation.path(0) == folder / "val/1.jpg");
}
