#include "data/decode/scratch.h"

#include <doctest/doctest.h>

using facet::data::Scratch;
using facet::data::ScratchPool;

TEST_CASE("buffers are reused, and the smallest that suffices is taken") {
  Scratch scratch;
  auto large = scratch.take(5000);
  auto small = scratch.take(100);
  const auto* large_bytes = large.data();
  const auto* small_bytes = small.data();
  scratch.give(std::move(large));
  scratch.give(std::move(small));
  CHECK(scratch.held_bytes() >= 5100);
  const auto first = scratch.take(80);
  CHECK(first.data() == small_bytes);
  CHECK(first.size() == 80);
  const auto second = scratch.take(90);
  CHECK(second.data() == large_bytes);
  CHECK(scratch.take(10).size() == 10);
}

TEST_CASE("a buffer that is too small is released only where a larger one needs its place") {
  Scratch scratch;
  auto small = scratch.take(100);
  const auto* small_bytes = small.data();
  scratch.give(std::move(small));
  scratch.give(scratch.take(Scratch::max_bytes + 1));  // isn't kept, and so needs no place
  scratch.give(scratch.take(200));
  CHECK(scratch.take(80).data() == small_bytes);

  // In bytes: the largest makes way.
  Scratch full;
  full.give(std::vector<std::uint8_t>(Scratch::max_bytes / 2));
  full.give(std::vector<std::uint8_t>(100));
  full.give(full.take(Scratch::max_bytes / 4 * 3));
  CHECK(full.held_bytes() == Scratch::max_bytes / 4 * 3 + 100);
  // In buffers.
  for (int i = 0; i < 4; ++i) full.give(std::vector<std::uint8_t>(100));
  const auto large = full.take(Scratch::max_bytes / 4 * 3);
  full.give(std::vector<std::uint8_t>(150));
  CHECK(full.held_bytes() == 450);
  full.give(full.take(300));
  CHECK(full.held_bytes() == 600);
}

TEST_CASE("small buffers don't keep a large one from being kept, and empty ones take no place") {
  Scratch scratch;
  auto large = scratch.take(50'000), other = scratch.take(60'000);
  const auto* bytes = large.data();
  for (std::size_t size = 1; size <= 4; ++size) scratch.give(std::vector<std::uint8_t>(size));
  scratch.give(std::move(large));
  scratch.give(std::move(other));
  for (int i = 0; i < 10; ++i) scratch.give({});
  CHECK(scratch.held_bytes() == 110'007);
  CHECK(scratch.take(40'000).data() == bytes);
}

TEST_CASE("what is kept is bounded in bytes and in buffers") {
  Scratch scratch;
  scratch.give(scratch.take(Scratch::max_bytes + 1));
  CHECK(scratch.held_bytes() == 0);
  for (int i = 0; i < 100; ++i) scratch.give(std::vector<std::uint8_t>(Scratch::max_bytes / 10));
  CHECK(scratch.held_bytes() <= Scratch::max_bytes);
  CHECK(scratch.held_bytes() < Scratch::max_bytes / 2);
  scratch.give(std::vector<std::uint8_t>(Scratch::max_bytes));
  CHECK(scratch.held_bytes() <= Scratch::max_bytes);
}

TEST_CASE("a pool lends each borrower its own scratch memory, and lends it again afterwards") {
  ScratchPool pool;
  const Scratch* used = nullptr;
  {
    const ScratchPool::Lease one = pool.borrow(), other = pool.borrow();
    CHECK(&*one != &*other);
    used = &*one;
  }
  const ScratchPool::Lease again = pool.borrow();
  CHECK(&*again == used);
}
