#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.h"
#include "comm/thread_transport.h"
#include "facet/process_group.h"
#include "testing.h"

namespace facet::test {

/// The processes that mpirun has started of this test program, which are joined once and left at the program's end;
/// null where there is no other.
inline ProcessGroup* launched_group() {
  static std::optional<ProcessGroup> group =
      ProcessGroup::is_launched() && comm::mpi_version() != "none" ? std::optional(ProcessGroup::join()) : std::nullopt;
  return group && group->size() > 1 ? &*group : nullptr;
}

/// Runs `body` in `size` ranks. Where mpirun has started the test program, its processes are the ranks, and nothing is
/// run if they are not `size`: CTest starts the program with each number. Otherwise the ranks are threads. Checks may
/// fail on any rank. What `body` throws ends all processes of mpirun, so that no rank waits for one that has left; on
/// threads it is rethrown.
inline void run_ranks(int size, const std::function<void(ProcessGroup&)>& body) {
  const auto run = [&](ProcessGroup& group) {
    INFO("rank ", group.rank(), " of ", group.size());
    body(group);
  };
  ProcessGroup* const launched = launched_group();
  if (launched == nullptr) {
    run_on_threads(size, run);
    return;
  }
  if (launched->size() != size) return;
  std::string text = "a requirement isn't met";
  try {
    run(*launched);
    return;
  } catch (const std::exception& error) {
    text = error.what();
  } catch (...) {
    // doctest has printed the requirement.
  }
  std::cout << "rank " << launched->rank() << " has left the test: " << text << std::endl;
  launched->abort(1);
}

/// Whether all ranks give the same text.
inline bool is_same(const ProcessGroup& group, const std::string& text) {
  const std::vector<std::string> texts = group.gather(text);
  return std::ranges::all_of(texts, [&](const std::string& each) { return each == texts.front(); });
}

/// A new folder that all ranks use. Rank 0 makes it, and removes it when all have reached the end of the scope.
class SharedFolder {
 public:
  explicit SharedFolder(const ProcessGroup& group) : group_(group) {
    if (group_.rank() == 0) own_.emplace();
    path_ = group_.broadcast(own_ ? own_->path().string() : "");
  }
  ~SharedFolder() {
    // Where a rank throws, the others don't come here.
    if (std::uncaught_exceptions() == 0) group_.max(0);
  }
  SharedFolder(const SharedFolder&) = delete;
  SharedFolder& operator=(const SharedFolder&) = delete;

  std::filesystem::path operator/(const std::filesystem::path& name) const { return path_ / name; }

 private:
  ProcessGroup group_;
  std::optional<TemporaryFolder> own_;
  std::filesystem::path path_;
};

}  // namespace facet::test
