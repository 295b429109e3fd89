#include "base/memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <utility>

#include "base/machine.h"
#include "base/parallel.h"
#include "facet/error.h"

namespace facet::base {
namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t huge_page = std::size_t{2} << 20;

/// Address space that an arena leaves, at least, for everything else (oneDNN's generated code, thread stacks, each
/// thread's allocator pool), and the smallest size that an arena is useful with. oneDNN 2.6 crashes if it runs out of
/// address space.
constexpr std::size_t other_address_space = std::size_t{512} << 20;
constexpr std::size_t min_arena = std::size_t{64} << 20;

std::size_t round_up(std::size_t bytes, std::size_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

/// The mapped size of a buffer of `bytes`: whole pages, or whole huge pages if it fills at least one.
std::size_t mapped_size(std::size_t bytes) { return round_up(bytes, bytes < huge_page ? page : huge_page); }

double mebibytes(std::size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

/// Address space that this process may still take; the largest std::size_t if no limit (ulimit -v) is set.
std::size_t free_address_space() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return std::numeric_limits<std::size_t>::max();
  }
  const std::size_t taken = std::strtoull(field("/proc/self/status", "VmSize").c_str(), nullptr, 10) * 1024;
  return std::max<std::size_t>(limit.rlim_cur, taken) - taken;
}

void require_available(std::size_t bytes) {
  const auto available = static_cast<std::size_t>(std::max<std::int64_t>(available_memory(), 0));
  if (bytes > available) {
    throw Error(fmt::format("not enough memory: {:.1f} MiB more are needed, {:.1f} MiB are available to this process",
                            mebibytes(bytes), mebibytes(available)),
                ErrorCode::out_of_memory);
  }
}

/// Maps `bytes` (whole pages) of address space, aligned to a huge page if they fill at least one; null if the system
/// refuses.
std::byte* map(std::size_t bytes, int protection, int flags) {
  const std::size_t slack = bytes < huge_page ? 0 : huge_page;
  if (bytes > PTRDIFF_MAX - slack) {
    return nullptr;
  }
  void* mapped = ::mmap(nullptr, bytes + slack, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (mapped == MAP_FAILED) {
    return nullptr;
  }
  auto* start = static_cast<std::byte*>(mapped);
  if (slack == 0) {
    return start;
  }
  const std::size_t head = (huge_page - reinterpret_cast<std::uintptr_t>(start) % huge_page) % huge_page;
  if (head > 0) {
    ::munmap(start, head);
  }
  if (slack > head) {
    ::munmap(start + head + bytes, slack - head);
  }
  return start + head;
}

void advise_huge_pages(std::byte* data, std::size_t bytes) {
  if (bytes >= huge_page) {
    ::madvise(data, bytes, MADV_HUGEPAGE);  // only advice: the kernel may refuse it
  }
}

/// Faults in fresh huge pages, on all compute threads in turn: as each page lies on the node of the thread that touches
/// it first, every tensor of many pages is spread over the nodes of all threads.
void touch(std::byte* data, std::size_t bytes) {
  const auto pages = static_cast<std::int64_t>(bytes / huge_page);
  const std::int64_t stride = std::min<std::int64_t>(pages, current_threads());
  parallel_for(stride, 1, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t first = begin; first < end; ++first) {
      for (std::int64_t i = first; i < pages; i += stride) {
        std::byte* const start = data + static_cast<std::size_t>(i) * huge_page;
        for (std::size_t at = 0; at < huge_page; at += page)
          *static_cast<volatile std::byte*>(start + at) = std::byte{0};
      }
    }
  });
}

}  // namespace

PageBuffer::PageBuffer(std::size_t bytes) : size_(bytes) {
  if (bytes == 0) {
    return;
  }
  require_available(bytes);
  data_ = map(mapped_size(bytes), PROT_READ | PROT_WRITE, 0);
  if (data_ == nullptr) {
    throw Error(fmt::format("not enough memory: the system refuses to provide {:.1f} MiB", mebibytes(bytes)),
                ErrorCode::out_of_memory);
  }
  advise_huge_pages(data_, mapped_size(bytes));
}

namespace {

/// Makes a file of `bytes` in memory. Returns its descriptor, or -1.
int make_memory_file(std::size_t bytes) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < bytes) {
    return -1;  // ftruncate would raise SIGXFSZ
  }
  constexpr unsigned not_executable = 8;  // MFD_NOEXEC_SEAL, since Linux 6.3; required by vm.memfd_noexec = 2
  int descriptor = ::memfd_create("facet", MFD_CLOEXEC | not_executable);
  if (descriptor < 0) {
    descriptor = ::memfd_create("facet", MFD_CLOEXEC);
  }
  if (descriptor >= 0 && ::ftruncate(descriptor, static_cast<off_t>(bytes)) != 0) {
    ::close(descriptor);
    return -1;
  }
  return descriptor;
}

}  // namespace

PageBuffer PageBuffer::shareable(std::size_t bytes) {
  PageBuffer buffer;
  if (bytes == 0) {
    return buffer;
  }
  require_available(bytes);
  const std::size_t mapped = mapped_size(bytes);
  const int descriptor = make_memory_file(mapped);
  if (descriptor < 0) {
    return PageBuffer(bytes);
  }
  void* const data = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (data == MAP_FAILED) {
    ::close(descriptor);
    return PageBuffer(bytes);
  }
  buffer.data_ = static_cast<std::byte*>(data);
  buffer.size_ = bytes;
  buffer.descriptor_ = descriptor;
  return buffer;
}

PageBuffer PageBuffer::sparse(std::size_t bytes) {
  PageBuffer buffer;
  if (bytes == 0) {
    return buffer;
  }
  buffer.data_ = map(mapped_size(bytes), PROT_READ | PROT_WRITE, MAP_NORESERVE);
  if (buffer.data_ == nullptr) {
    throw Error(fmt::format("not enough memory: the system refuses to provide {:.1f} MiB", mebibytes(bytes)),
                ErrorCode::out_of_memory);
  }
  buffer.size_ = bytes;
  ::madvise(buffer.data_, mapped_size(bytes), MADV_NOHUGEPAGE);
  return buffer;
}

PageBuffer::Place PageBuffer::place() const {
  struct stat status {};
  if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0) {
    return {};
  }
  return {.process = ::getpid(),
          .descriptor = descriptor_,
          .device = status.st_dev,
          .inode = status.st_ino,
          .bytes = size_};
}

PageBuffer PageBuffer::open(const Place& place) {
  PageBuffer buffer;
  if (place.descriptor < 0 || place.bytes == 0) {
    return buffer;
  }
  // Only looked at first: another file, such as a pipe or a terminal, isn't opened.
  const std::string path = fmt::format("/proc/{}/fd/{}", place.process, place.descriptor);
  const int found = ::open(path.c_str(), O_PATH | O_CLOEXEC);
  if (found < 0) {
    return buffer;
  }
  struct stat status {};
  const std::size_t mapped = mapped_size(place.bytes);
  const bool is_it = ::fstat(found, &status) == 0 && S_ISREG(status.st_mode) && status.st_dev == place.device &&
                     status.st_ino == place.inode && status.st_size == static_cast<off_t>(mapped);
  const int descriptor = is_it ? ::open(fmt::format("/proc/self/fd/{}", found).c_str(), O_RDONLY | O_CLOEXEC) : -1;
  ::close(found);
  if (descriptor < 0) {
    return buffer;
  }
  void* const data = ::mmap(nullptr, mapped, PROT_READ, MAP_SHARED, descriptor, 0);
  ::close(descriptor);
  if (data != MAP_FAILED) {
    buffer.data_ = static_cast<std::byte*>(data);
    buffer.size_ = place.bytes;
  }
  return buffer;
}

PageBuffer::~PageBuffer() {
  if (data_ != nullptr) {
    ::munmap(data_, mapped_size(size_));
  }
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

PageBuffer::PageBuffer(PageBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

PageBuffer& PageBuffer::operator=(PageBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

// The arena never needs more than the machine's memory. If the process's address space is limited, half of it is left
// for everything else.
Arena::Arena() {
  const std::size_t space = free_address_space();
  if (space < other_address_space + min_arena) {
    throw Error(fmt::format("not enough memory: {:.1f} MiB of address space are left under this process's limit "
                            "(ulimit -v); at least {:.1f} MiB are needed",
                            mebibytes(space), mebibytes(other_address_space + min_arena)),
                ErrorCode::out_of_memory);
  }
  const auto pages = static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES));
  const std::size_t memory = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  reserved_ = round_up(std::min(memory, space - std::max(space / 2, other_address_space)), huge_page);
  while ((data_ = map(reserved_, PROT_NONE, MAP_NORESERVE)) == nullptr) {
    if (reserved_ <= huge_page) {
      throw Error("not enough memory: the system refuses to reserve any address space", ErrorCode::out_of_memory);
    }
    reserved_ = round_up(reserved_ / 2, huge_page);
  }
}

Arena::~Arena() { ::munmap(data_, reserved_); }

void Arena::grow(std::size_t bytes) {
  if (bytes <= size_) {
    return;
  }
  if (bytes > reserved_) {
    throw Error(fmt::format("not enough memory: {:.1f} MiB are needed, at most {:.1f} MiB can be used",
                            mebibytes(bytes), mebibytes(reserved_)),
                ErrorCode::out_of_memory);
  }
  const std::size_t size = round_up(bytes, huge_page);
  require_available(size - size_);
  std::byte* fresh = data_ + size_;
  if (::mprotect(fresh, size - size_, PROT_READ | PROT_WRITE) != 0) {
    throw Error(fmt::format("not enough memory: the system refuses to provide {:.1f} MiB", mebibytes(size - size_)),
                ErrorCode::out_of_memory);
  }
  advise_huge_pages(fresh, size - size_);
  touch(fresh, size - size_);
  size_ = size;
}

}  // namespace facet::base
