#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "comm/communicator.h"
#include "facet/process_group.h"

namespace facet::test {

/// Thrown by an exchange that cannot end, because a rank has returned or thrown.
class BrokenGroup final : public std::runtime_error {
 public:
  BrokenGroup() : std::runtime_error("another rank has left the group") {}
};

/// Where the threads of a group meet: each shows the others where its bytes lie, and they copy them.
class ThreadExchange {
 public:
  explicit ThreadExchange(int size) : shown_(static_cast<std::size_t>(size)) {}

  int size() const { return static_cast<int>(shown_.size()); }

  /// Shows `bytes` (one part for each rank, or one for all) to the others, calls `copy` with what each rank shows, by
  /// rank, and returns when all have copied. @throws BrokenGroup
  void meet(int rank, std::span<const std::span<const std::byte>> bytes, const auto& copy) {
    shown_[static_cast<std::size_t>(rank)] = bytes;
    wait();
    // Now every rank is here, and none of them can leave before all have copied.
    copy(std::as_const(shown_));
    wait();
  }

  /// A rank takes part no more.
  void leave() {
    const std::lock_guard lock(mutex_);
    is_broken_ = true;
    changed_.notify_all();
  }

 private:
  /// Returns when all ranks have called it.
  void wait() {
    std::unique_lock lock(mutex_);
    if (is_broken_) throw BrokenGroup();
    const std::uint64_t meeting = meetings_;
    if (++arrived_ == size()) {
      arrived_ = 0;
      ++meetings_;
      changed_.notify_all();
      return;
    }
    changed_.wait(lock, [&] { return meetings_ != meeting || is_broken_; });
    if (meetings_ == meeting) throw BrokenGroup();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::span<const std::span<const std::byte>>> shown_;  // by rank
  int arrived_ = 0;
  std::uint64_t meetings_ = 0;
  bool is_broken_ = false;
};

/// A rank of a group of threads.
class ThreadTransport final : public comm::Transport {
 public:
  ThreadTransport(std::shared_ptr<ThreadExchange> exchange, int rank) : exchange_(std::move(exchange)), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return exchange_->size(); }

  void all_gather(std::span<const std::byte> own, std::span<std::byte> all) override {
    exchange_->meet(rank_, std::span(&own, 1), [&](const auto& shown) {
      auto to = all.begin();
      for (const auto& parts : shown) to = std::ranges::copy(parts[0], to).out;
    });
  }

  void broadcast(std::span<std::byte> bytes, int root) override {
    const std::span<const std::byte> own = bytes;
    exchange_->meet(rank_, std::span(&own, 1), [&](const auto& shown) {
      if (root != rank_) std::ranges::copy(shown[static_cast<std::size_t>(root)][0], bytes.begin());
    });
  }

  void exchange(std::span<const std::span<const std::byte>> sent,
                std::span<const std::span<std::byte>> received) override {
    exchange_->meet(rank_, sent, [&](const auto& shown) {
      const auto own = static_cast<std::size_t>(rank_);
      for (std::size_t r = 0; r < shown.size(); ++r) {
        if (r != own) std::ranges::copy(shown[r][own], received[r].begin());
      }
    });
  }

  [[noreturn]] void abort(int) override { std::abort(); }

  void library_sum(std::span<float> values, bool) override {
    const std::vector<float> sent(values.begin(), values.end());
    const std::span<const std::byte> own = std::as_bytes(std::span(sent));
    exchange_->meet(rank_, std::span(&own, 1), [&](const auto& shown) {
      std::ranges::fill(values, 0.0F);
      for (const auto& parts : shown) {
        const auto* const theirs = reinterpret_cast<const float*>(parts[0].data());
        for (std::size_t i = 0; i < values.size(); ++i) values[i] += theirs[i];
      }
    });
  }

 private:
  std::shared_ptr<ThreadExchange> exchange_;
  int rank_;
};

/// Runs `body` on `size` threads, each of them a rank of one group, and rethrows the first exception: that of the
/// lowest rank, of those that aren't the consequence of another rank's. A rank that returns or throws while others wait
/// for it makes these throw.
inline void run_on_threads(int size, const std::function<void(ProcessGroup&)>& body) {
  const auto exchange = std::make_shared<ThreadExchange>(size);
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(size));
  std::exception_ptr consequence;
  std::mutex mutex;
  const auto run = [&](int rank) {
    try {
      ProcessGroup group(std::make_shared<comm::Communicator>(std::make_unique<ThreadTransport>(exchange, rank)));
      body(group);
    } catch (const BrokenGroup&) {
      const std::lock_guard lock(mutex);
      consequence = std::current_exception();
    } catch (...) {
      errors[static_cast<std::size_t>(rank)] = std::current_exception();
    }
    exchange->leave();
  };
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < size; ++rank) threads.emplace_back(run, rank);
  }
  for (const std::exception_ptr& error : errors) {
    if (error != nullptr) std::rethrow_exception(error);
  }
  if (consequence != nullptr) std::rethrow_exception(consequence);
}

}  // namespace facet::test
