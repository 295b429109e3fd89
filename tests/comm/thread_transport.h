#pragma once

#include <algorithm>
#include <array>
#include <atomic>
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

/// Thrown by an exchange that cannot end, because a rank has failed.
class BrokenGroup final : public std::runtime_error {
 public:
  BrokenGroup() : std::runtime_error("another rank has failed") {}
};

/// Where the threads of a group meet: each shows the others where its bytes lie, and they copy them.
class ThreadExchange {
 public:
  /// @param on_host ranks on each host: 0: all. @param has_background see Transport.
  ThreadExchange(int size, int on_host, bool has_background)
      : shown_(static_cast<std::size_t>(size)),
        on_host_(on_host == 0 ? size : on_host),
        has_background_(has_background),
        memory_(static_cast<std::size_t>(size), std::vector<std::byte>(shared_bytes)),
        host_meetings_(shown_.size()) {
    for (auto& letters : letters_) letters.resize(shown_.size() * shown_.size());
  }

  int size() const { return static_cast<int>(shown_.size()); }
  bool has_background() const { return has_background_; }
  /// @throws BrokenGroup
  void check() {
    const std::lock_guard lock(mutex_);
    if (is_broken_) throw BrokenGroup();
  }

  /// Shows `bytes` (one part for each rank, or one for all) to the others, calls `copy` with what each rank shows, by
  /// rank, and returns when all have copied. @throws BrokenGroup
  void meet(int rank, std::span<const std::span<const std::byte>> bytes, const auto& copy) {
    shown_[static_cast<std::size_t>(rank)] = bytes;
    wait(meeting_, shown_.size());
    // Now every rank is here, and none of them can leave before all have copied.
    copy(std::as_const(shown_));
    wait(meeting_, shown_.size());
  }

  /// The ranks on the host of `rank`.
  std::vector<int> host_ranks(int rank) const {
    std::vector<int> ranks;
    for (int r = rank / on_host_ * on_host_; r < std::min((rank / on_host_ + 1) * on_host_, size()); ++r)
      ranks.push_back(r);
    return ranks;
  }
  std::span<std::byte> memory(int rank) { return memory_[static_cast<std::size_t>(rank)]; }
  /// Returns when all ranks on the host of `rank` have called it.
  void meet_on_host(int rank) {
    wait(host_meetings_[static_cast<std::size_t>(rank / on_host_)], host_ranks(rank).size());
  }

  /// See Transport::exchange. Ranks that have nothing for each other needn't call it.
  void exchange(int rank, std::span<const std::span<const std::byte>> sent,
                std::span<const std::span<std::byte>> received, comm::Channel channel) {
    const auto own = static_cast<std::size_t>(rank);
    // What a rank sends to another and that one hasn't received.
    const auto letter = [&](std::size_t from, std::size_t to) -> std::span<const std::byte>& {
      return letters_[channel == comm::Channel::background ? 1 : 0][from * shown_.size() + to];
    };
    std::unique_lock lock(mutex_);
    for (std::size_t r = 0; r < sent.size(); ++r) {
      if (r != own) letter(own, r) = sent[r];
    }
    changed_.notify_all();
    const auto await = [&](const auto& is_done) {
      changed_.wait(lock, [&] { return is_done() || is_broken_; });
      if (!is_done()) throw BrokenGroup();
    };
    for (std::size_t r = 0; r < received.size(); ++r) {
      if (r == own || received[r].empty()) continue;
      await([&] { return !letter(r, own).empty(); });
      std::ranges::copy(letter(r, own), received[r].begin());
      letter(r, own) = {};
      changed_.notify_all();
    }
    for (std::size_t r = 0; r < sent.size(); ++r) {
      if (r != own) await([&] { return letter(own, r).empty(); });
    }
  }

  /// Returns the exchange of the first `ranks` ranks. All ranks call it.
  std::shared_ptr<ThreadExchange> first(int rank, int ranks) {
    std::shared_ptr<ThreadExchange> part;
    if (rank == 0) {
      part = std::make_shared<ThreadExchange>(ranks, on_host_, has_background_);
      const std::lock_guard lock(mutex_);
      parts_.push_back(part);
    }
    const std::span<const std::byte> own = std::as_bytes(std::span(&part, 1));
    meet(rank, std::span(&own, 1), [&](const auto& shown) {
      if (rank > 0) part = *reinterpret_cast<const std::shared_ptr<ThreadExchange>*>(shown[0][0].data());
    });
    return part;
  }

  /// Returns when all ranks have called it, and so need nothing of each other any more.
  void meet_at_the_end() { wait(end_, shown_.size()); }

  /// A rank has failed.
  void leave() {
    const std::lock_guard lock(mutex_);
    is_broken_ = true;
    changed_.notify_all();
    for (const std::shared_ptr<ThreadExchange>& part : parts_) part->leave();
  }

 private:
  static constexpr std::size_t shared_bytes = std::size_t{1} << 16;

  struct Meeting {
    std::size_t arrived = 0;
    std::uint64_t number = 0;
  };

  /// Returns when `ranks` ranks have called it for this meeting.
  void wait(Meeting& meeting, std::size_t ranks) {
    std::unique_lock lock(mutex_);
    if (is_broken_) throw BrokenGroup();
    const std::uint64_t number = meeting.number;
    if (++meeting.arrived == ranks) {
      meeting.arrived = 0;
      ++meeting.number;
      changed_.notify_all();
      return;
    }
    changed_.wait(lock, [&] { return meeting.number != number || is_broken_; });
    if (meeting.number == number) throw BrokenGroup();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::span<const std::span<const std::byte>>> shown_;  // by rank
  int on_host_;
  bool has_background_;
  std::vector<std::vector<std::byte>> memory_;                      // by rank
  std::array<std::vector<std::span<const std::byte>>, 2> letters_;  // by channel; by sender and receiver
  Meeting meeting_;                                                 // of all ranks
  Meeting end_;
  std::vector<Meeting> host_meetings_;  // by host
  std::vector<std::shared_ptr<ThreadExchange>> parts_;
  bool is_broken_ = false;
};

/// A rank of a group of threads.
class ThreadTransport final : public comm::Transport {
 public:
  ThreadTransport(std::shared_ptr<ThreadExchange> exchange, int rank)
      : exchange_(std::move(exchange)), rank_(rank), host_ranks_(exchange_->host_ranks(rank)) {
    for (const int r : host_ranks_) segments_.push_back(exchange_->memory(r));
  }

  int rank() const override { return rank_; }
  int size() const override { return exchange_->size(); }

  std::unique_ptr<comm::Transport> first(int ranks) override {
    std::shared_ptr<ThreadExchange> part = exchange_->first(rank_, ranks);
    return rank_ < ranks ? std::make_unique<ThreadTransport>(std::move(part), rank_) : nullptr;
  }

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

  bool has_background() const override { return exchange_->has_background(); }
  /// How often this rank has called exchange().
  int exchanges() const { return exchanges_; }
  void check() const override { exchange_->check(); }

  void exchange(std::span<const std::span<const std::byte>> sent, std::span<const std::span<std::byte>> received,
                comm::Channel channel) override {
    ++exchanges_;
    exchange_->exchange(rank_, sent, received, channel);
  }

  std::span<const int> host_ranks() const override { return host_ranks_; }
  std::span<const std::span<std::byte>> shared_segments() override { return segments_; }
  void host_barrier() override { exchange_->meet_on_host(rank_); }

  std::vector<base::PageBuffer> map_host(const base::PageBuffer& own) override {
    std::vector<base::PageBuffer::Place> places(static_cast<std::size_t>(size()));
    const base::PageBuffer::Place place = own.place();
    all_gather(std::as_bytes(std::span(&place, 1)), std::as_writable_bytes(std::span(places)));
    std::vector<base::PageBuffer> mapped;
    for (const int r : host_ranks_) mapped.push_back(base::PageBuffer::open(places[static_cast<std::size_t>(r)]));
    return mapped;
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
  std::atomic<int> exchanges_ = 0;
  std::vector<int> host_ranks_;
  std::vector<std::span<std::byte>> segments_;
};

/// Runs `body` on `size` threads, each of them a rank of one group, and rethrows the first exception: that of the
/// lowest rank, of those that aren't the consequence of another rank's. A rank that throws while others wait for it
/// makes these throw.
/// @param on_host ranks on each host; 0: all. @param has_background see Transport.
inline void run_on_threads(int size, const std::function<void(ProcessGroup&)>& body, int on_host = 0,
                           bool has_background = true) {
  const auto exchange = std::make_shared<ThreadExchange>(size, on_host, has_background);
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(size));
  std::exception_ptr consequence;
  std::mutex mutex;
  const auto run = [&](int rank) {
    try {
      ProcessGroup group(std::make_shared<comm::Communicator>(std::make_unique<ThreadTransport>(exchange, rank)));
      body(group);
      exchange->meet_at_the_end();
    } catch (const BrokenGroup&) {
      const std::lock_guard lock(mutex);
      consequence = std::current_exception();
    } catch (...) {
      errors[static_cast<std::size_t>(rank)] = std::current_exception();
      exchange->leave();
    }
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
