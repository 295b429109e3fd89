#include <dlfcn.h>
#include <doctest/doctest.h>
#include <execinfo.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <new>
#include <string>

#include "base/parallel.h"
#include "facet/precision.h"
#include "program/small_model.h"

// Counts the heap allocations of a training step in steady state. This executable replaces operator new; it also serves
// oneDNN's allocations, which are recognised by the library that called it.

namespace {

std::atomic<bool> counting{false};
std::atomic<int> count{0};
std::array<std::array<void*, 24>, 8192> stacks{};
std::array<int, 8192> depths{};

/// @param from the return address of operator new: the frames of this file are above it.
void* allocate(std::size_t bytes, std::size_t alignment, void* from) noexcept {
  if (counting.load(std::memory_order_relaxed)) {
    const int index = count.fetch_add(1);
    counting = false;  // backtrace may allocate
    if (index < static_cast<int>(stacks.size())) {
      auto& stack = stacks[static_cast<std::size_t>(index)];
      const int depth = backtrace(stack.data(), static_cast<int>(stack.size()));
      const auto first = std::find(stack.begin(), stack.begin() + depth, from);
      depths[static_cast<std::size_t>(index)] =
          static_cast<int>(std::copy(first, stack.begin() + depth, stack.begin()) - stack.begin());
    }
    counting = true;
  }
  bytes = std::max<std::size_t>(bytes, 1);
  if (alignment <= alignof(std::max_align_t)) return std::malloc(bytes);
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void* allocate_or_throw(std::size_t bytes, std::size_t alignment, void* from) {
  if (void* memory = allocate(bytes, alignment, from)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t bytes) { return allocate_or_throw(bytes, 1, __builtin_return_address(0)); }
void* operator new[](std::size_t bytes) { return allocate_or_throw(bytes, 1, __builtin_return_address(0)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<std::size_t>(alignment), __builtin_return_address(0));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<std::size_t>(alignment), __builtin_return_address(0));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, 1, __builtin_return_address(0));
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, 1, __builtin_return_address(0));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace facet::testing {
namespace {

/// The library (or this executable) that allocated the memory: the one of the innermost frame outside operator new and
/// libstdc++.
std::string caller(std::size_t index) {
  for (int frame = 0; frame < depths[index]; ++frame) {
    Dl_info info{};
    if (dladdr(stacks[index][static_cast<std::size_t>(frame)], &info) == 0) continue;
    const std::string file = info.dli_fname;
    if (file.find("libstdc++") == std::string::npos) return file;
  }
  return "unknown";
}

struct Allocations {
  int own = 0, libraries = 0;
  std::string where;
};

template <class Function>
Allocations allocations_in(const Function& function) {
  count = 0;
  counting = true;
  function();
  counting = false;
  Allocations result;
  const int recorded = std::min<int>(count, static_cast<int>(stacks.size()));
  for (int i = 0; i < recorded; ++i) {
    const std::string file = caller(static_cast<std::size_t>(i));
    const bool library = file.find("libdnnl") != std::string::npos || file.find("libgomp") != std::string::npos ||
                         file.find("libtbb") != std::string::npos;
    ++(library ? result.libraries : result.own);
    if (!library) result.where += file + " ";
  }
  return result;
}

void check_steady_state(Precision precision, bool accumulate = false, double clip_norm = 0) {
  const Problem problem = small_model(4);
  Parameters parameters = random_parameters(problem.graph);
  TrainingSession training(problem, parameters, precision, accumulate, clip_norm);
  Session evaluation = inference_session(problem, parameters, precision);
  program::Program& trained = training.session().program();
  program::Program& evaluated = evaluation.program();
  const base::ComputeScope scope(test_threads);
  program::RunInput input{
      .pixels = problem.pixels.data(), .labels = problem.labels.data(), .step = 1, .learning_rate = 1e-3F};
  const auto step = [&] {
    trained.run(input);
    evaluated.run(input);
    ++input.step;
  };
  step();
  step();
  const Allocations allocations = allocations_in(step);
  CHECK_MESSAGE(allocations.own == 0, allocations.where);
  MESSAGE("oneDNN and its runtime allocate memory ", allocations.libraries, " times per step");
}

}  // namespace

TEST_CASE("program: the counter counts allocations") {
  const Allocations allocations = allocations_in([] {
    std::vector<int> values(100);
    volatile int* kept = values.data();
    kept[0] = 1;
  });
  CHECK(allocations.own == 1);
  CHECK(allocations.libraries == 0);
}

TEST_CASE("program: facet's own code allocates nothing in a steady-state step") {
  check_steady_state(Precision::f32);
  check_steady_state(Precision::f32, false, 1);
  check_steady_state(Precision::f32, true, 1);
  if (has_native_bf16()) check_steady_state(Precision::bf16);
}

}  // namespace facet::testing
