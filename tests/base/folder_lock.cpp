#include "base/folder_lock.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <utility>

#include "error_of.h"
#include "temporary_folder.h"

using namespace facet;
using base::FolderLock;

TEST_CASE("a folder has one owner at a time, within a process too") {
  const TemporaryFolder folder;
  {
    FolderLock first(folder.path());
    CHECK(first.is_held());
    const std::string error = error_of([&] { FolderLock second(folder.path()); });
    CHECK(error.starts_with(folder.path().string() + " is in use by process " + std::to_string(::getpid()) + " on "));
    const FolderLock moved = std::move(first);
    CHECK(moved.is_held());
    CHECK(contains(error_of([&] { FolderLock second(folder.path()); }), "is in use by"));
  }
  CHECK(FolderLock(folder.path()).is_held());
}

TEST_CASE("a folder is kept from other processes, and free once its owner has ended") {
  const TemporaryFolder folder;
  const auto locked_by_child = [&] {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(error_of([&] { FolderLock lock(folder.path()); }).empty() ? 0 : 1);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  };
  std::optional<FolderLock> lock(folder.path());
  CHECK(!locked_by_child());
  lock.reset();
  CHECK(locked_by_child());
  CHECK(FolderLock(folder.path()).is_held());
}

TEST_CASE("a folder that can't be locked is named") {
  const TemporaryFolder folder;
  CHECK(error_of([&] { FolderLock lock(folder / "missing"); }) ==
        "cannot lock " + (folder / "missing" / "run.lock").string() + ": No such file or directory");
}
