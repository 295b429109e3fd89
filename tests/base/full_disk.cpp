#include <doctest/doctest.h>
#include <sys/mount.h>

#include "facet/error.h"
#include "facet/files.h"
#include "testing.h"

TEST_CASE("a full disk is a clear error; the old file stays") {
  const facet::TemporaryFolder folder;
  if (::mount("facet-test", folder.path().c_str(), "tmpfs", 0, "size=256k") != 0) {
    MESSAGE("SKIPPED: a small file system can be mounted by root only");
    return;
  }
  facet::write_file(folder / "file", "old");
  std::string message;
  try {
    facet::AtomicFile file(folder / "file");
    file.write(std::string(std::size_t{1} << 20, 'x'));
    file.commit();
  } catch (const facet::Error& error) {
    message = error.what();
  }
  const std::string kept = facet::read_file(folder / "file");
  const auto entries = std::distance(std::filesystem::directory_iterator(folder.path()), {});
  ::umount(folder.path().c_str());
  CHECK(message == "cannot write " + (folder / "file").string() + ": No space left on device");
  CHECK(kept == "old");
  CHECK(entries == 1);
}
