#include "base/memory.h"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "base/machine.h"
#include "facet/error.h"
#include "facet/machine.h"

using facet::base::Arena;
using facet::base::PageBuffer;

namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20;

bool is_zero(const std::byte* data, std::size_t bytes) {
  return std::all_of(data, data + bytes, [](std::byte value) { return value == std::byte{0}; });
}

std::int64_t resident_memory() { return std::stoll(facet::base::field("/proc/self/status", "VmRSS")) * 1024; }

/// Returns the page faults that writing the memory causes.
std::int64_t faults_of_writing(std::byte* data, std::size_t bytes) {
  const auto faults = [] {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
  };
  const std::int64_t before = faults();
  std::memset(data, 7, bytes);
  return faults() - before;
}

/// Returns far fewer faults than small pages cause, and far more than huge ones do.
std::int64_t few_faults(std::size_t bytes) { return static_cast<std::int64_t>(bytes) / ::sysconf(_SC_PAGESIZE) / 16; }

/// Whether new memory is on huge pages as soon as it is written, after madvise. The kernel may have none, provide them
/// later (defrag), or have only fragmented memory.
bool gives_huge_pages(std::size_t bytes) {
  void* const mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(mapped != MAP_FAILED);
  ::madvise(mapped, bytes, MADV_HUGEPAGE);
  const std::int64_t before = facet::base::huge_page_bytes();
  std::memset(mapped, 7, bytes);
  const std::int64_t given = facet::base::huge_page_bytes() - before;
  ::munmap(mapped, bytes);
  return given >= static_cast<std::int64_t>(bytes / 8 * 7);
}

/// While it lives, huge pages are disabled for this process, if the kernel supports that.
class WithoutHugePages {
 public:
  WithoutHugePages()
      : before_(::prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)),
        granted_(before_ >= 0 && ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0) {}
  ~WithoutHugePages() {
    if (granted_) ::prctl(PR_SET_THP_DISABLE, before_ & 1, before_ & ~1, 0, 0);  // the state, and flags of Linux 6.18
  }
  WithoutHugePages(const WithoutHugePages&) = delete;
  WithoutHugePages& operator=(const WithoutHugePages&) = delete;

  bool granted() const { return granted_; }

 private:
  int before_;
  bool granted_;
};

/// Returns a size that exceeds the available memory, but not the address space.
std::size_t too_much() { return static_cast<std::size_t>(facet::available_memory()) + 512 * mebibyte; }

}  // namespace

TEST_CASE("a page buffer is zeroed, aligned and writable to its last byte") {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{4096}, 2 * mebibyte, 5 * mebibyte + 3}) {
    const PageBuffer buffer(bytes);
    CHECK(buffer.size() == bytes);
    CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % (bytes < 2 * mebibyte ? 4096 : 2 * mebibyte) == 0);
    CHECK(is_zero(buffer.data(), bytes));
    std::memset(buffer.data(), 1, bytes);
  }
  CHECK(PageBuffer().data() == nullptr);
  CHECK(PageBuffer(0).data() == nullptr);
}

TEST_CASE("a page buffer can be moved") {
  PageBuffer first(100);
  std::byte* data = first.data();
  PageBuffer second(std::move(first));
  CHECK(second.data() == data);
  CHECK(second.size() == 100);
  PageBuffer third(5000);
  third = std::move(second);
  CHECK(third.data() == data);
  CHECK(third.size() == 100);
}

TEST_CASE("a shareable buffer can be mapped, and outlives the one that maps it or is mapped") {
  constexpr std::size_t bytes = 3 << 20;
  PageBuffer mapped;
  {
    PageBuffer own = PageBuffer::shareable(bytes);
    REQUIRE(own.size() == bytes);
    CHECK(own.data()[bytes - 1] == std::byte{0});
    own.data()[5] = std::byte{7};
    mapped = PageBuffer::open(own.place());
    REQUIRE(mapped.data() != nullptr);
    CHECK(mapped.data() != own.data());
    CHECK(mapped.size() == bytes);
    own.data()[bytes - 1] = std::byte{9};
    PageBuffer moved(std::move(own));
    CHECK(moved.place().descriptor >= 0);
    CHECK(own.place().descriptor == -1);
  }
  CHECK(mapped.data()[5] == std::byte{7});
  CHECK(mapped.data()[bytes - 1] == std::byte{9});
  CHECK(PageBuffer::shareable(0).data() == nullptr);
}

TEST_CASE("only the buffer itself is opened at its place") {
  const PageBuffer own = PageBuffer::shareable(100), other = PageBuffer::shareable(100);
  CHECK(PageBuffer::open(PageBuffer(100).place()).data() == nullptr);
  CHECK(PageBuffer::open({}).data() == nullptr);
  for (int i = 0; i < 5; ++i) {
    PageBuffer::Place place = own.place();
    if (i == 0) place.descriptor = other.place().descriptor;
    if (i == 1) place.descriptor = 0;  // standard input
    if (i == 2) place.process = 1 << 30;
    if (i == 3) place.bytes = 1 << 20;
    if (i == 4) place.device += 1;
    CAPTURE(i);
    CHECK(PageBuffer::open(place).data() == nullptr);
  }
}

TEST_CASE("a sparse buffer takes memory where it is written alone") {
  const PageBuffer buffer = PageBuffer::sparse(too_much() / 2);
  for (const std::size_t at : {std::size_t{0}, buffer.size() / 2, buffer.size() - 1}) buffer.data()[at] = std::byte{1};
  CHECK(buffer.data()[buffer.size() / 2] == std::byte{1});
  CHECK(buffer.data()[1] == std::byte{0});
}

TEST_CASE("a page buffer that doesn't fit into memory is an error that gives the size") {
  CHECK_THROWS_WITH_AS(PageBuffer{too_much()}, doctest::Contains("MiB more are needed"), facet::Error);
  CHECK_THROWS_AS(PageBuffer(std::numeric_limits<std::size_t>::max()), facet::Error);
}

TEST_CASE("an arena grows in place") {
  Arena arena;
  CHECK(arena.size() == 0);
  std::byte* data = arena.data();
  arena.grow(1000);
  CHECK(arena.size() >= 1000);
  CHECK(is_zero(data, 1000));
  std::memset(data, 7, 1000);
  const std::size_t before = arena.size();
  arena.grow(10);
  CHECK(arena.size() == before);
  arena.grow(9 * mebibyte);
  CHECK(arena.size() >= 9 * mebibyte);
  CHECK(arena.data() == data);
  CHECK(data[999] == std::byte{7});
  CHECK(is_zero(data + 1000, arena.size() - 1000));
  std::memset(data, 7, arena.size());
}

TEST_CASE("an arena's memory is touched as it grows, and no more than that") {
  Arena arena;
  const std::int64_t before = resident_memory();
  arena.grow(64 * mebibyte);
  const std::int64_t taken = resident_memory() - before;
  CHECK(taken >= static_cast<std::int64_t>(60 * mebibyte));
  CHECK(taken <= static_cast<std::int64_t>(80 * mebibyte));
}

TEST_CASE("memory is on huge pages if the kernel has them, and writing to an arena causes few page faults") {
  constexpr std::size_t bytes = 64 * mebibyte;
  if (!gives_huge_pages(2 * bytes)) {
    MESSAGE("skipped: the kernel provides no huge pages at a page fault");
    return;
  }
  Arena arena;
  const std::int64_t before = facet::base::huge_page_bytes();
  arena.grow(bytes / 2);
  arena.grow(bytes);
  const std::int64_t with_arena = facet::base::huge_page_bytes();
  CHECK(with_arena - before >= static_cast<std::int64_t>(bytes / 2));
  CHECK(faults_of_writing(arena.data(), bytes) < few_faults(bytes));
  const PageBuffer buffer(bytes);
  std::memset(buffer.data(), 7, bytes);
  CHECK(facet::base::huge_page_bytes() - with_arena >= static_cast<std::int64_t>(bytes / 2));
}

TEST_CASE("if huge pages are disabled, memory is on small ones") {
  const WithoutHugePages without;
  if (!without.granted()) {
    MESSAGE("skipped: a process can't disable them on this kernel");
    return;
  }
  const bool is_reported = !facet::base::field("/proc/self/status", "THP_enabled").empty();  // since Linux 5.0
  if (is_reported) CHECK(facet::base::huge_page_policy() == "never");
  constexpr std::size_t bytes = 64 * mebibyte;
  Arena arena;
  const std::int64_t before = facet::base::huge_page_bytes();
  arena.grow(bytes);
  const PageBuffer buffer(bytes);
  CHECK(is_zero(arena.data(), bytes));
  CHECK(is_zero(buffer.data(), bytes));
  CHECK(faults_of_writing(arena.data(), bytes) < few_faults(bytes));
  CHECK(faults_of_writing(buffer.data(), bytes) > few_faults(bytes));
  CHECK(facet::base::huge_page_bytes() == before);
}

TEST_CASE("growing an arena beyond the memory is an error and leaves it unchanged") {
  Arena arena;
  arena.grow(mebibyte);
  const std::size_t before = arena.size();
  arena.data()[0] = std::byte{9};
  CHECK_THROWS_WITH_AS(arena.grow(too_much()), doctest::Contains("MiB"), facet::Error);
  CHECK_THROWS_AS(arena.grow(std::numeric_limits<std::size_t>::max()), facet::Error);
  CHECK(arena.size() == before);
  CHECK(arena.data()[0] == std::byte{9});
}

namespace {

/// While it lives, this process can map at most `bytes` more of address space.
class AddressSpace {
 public:
  explicit AddressSpace(std::size_t bytes) {
    ::getrlimit(RLIMIT_AS, &before_);
    rlimit less = before_;
    less.rlim_cur = std::stoull(facet::base::field("/proc/self/status", "VmSize")) * 1024 + bytes;
    ::setrlimit(RLIMIT_AS, &less);
  }
  ~AddressSpace() { ::setrlimit(RLIMIT_AS, &before_); }
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

 private:
  rlimit before_{};
};

}  // namespace

// The sanitizers' own memory exceeds any such limit.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("an arena leaves half of a limited address space free, and is an error if too little is left") {
  {
    const AddressSpace little(500 * mebibyte);
    CHECK_THROWS_WITH_AS(Arena(), doctest::Contains("MiB of address space are left under this process's limit"),
                         facet::Error);
  }
  const AddressSpace enough(700 * mebibyte);
  Arena arena;
  arena.grow(128 * mebibyte);
  const PageBuffer rest(480 * mebibyte);
  CHECK(is_zero(arena.data(), 128 * mebibyte));
  CHECK_THROWS_WITH_AS(arena.grow(600 * mebibyte), doctest::Contains("MiB can be used"), facet::Error);
}
#endif
