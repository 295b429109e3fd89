#include <doctest/doctest.h>
#include <sys/mount.h>

#include "data/make_jpeg.h"
#include "facet/image.h"
#include "facet/synthetic.h"
#include "testing.h"

TEST_CASE("a sample that doesn't fit on the disk is an error, and leaves no empty or incomplete image") {
  const facet::TemporaryFolder folder;
  if (::mount("facet-test", folder.path().c_str(), "tmpfs", 0, "size=256k") != 0) {
    MESSAGE("SKIPPED: a small file system can be mounted by root only");
    return;
  }
  const std::string error =
      facet::error_of([&] { facet::write_synthetic_sample(folder / "sample", {.train = 2000, .validation = 10}); });
  int images = 0;
  int bad = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path())) {
    if (!entry.is_regular_file()) continue;
    ++images;
    if (!facet::error_of([&] { facet::read_image(entry.path()); }).empty()) ++bad;
  }
  ::umount(folder.path().c_str());
  CHECK(facet::contains(error, "cannot write "));
  CHECK(facet::contains(error, ": No space left on device"));
  CHECK(images > 10);
  CHECK(bad == 0);
}
