#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/memory.h"
#include "comm/add.h"
#include "comm/communicator.h"

namespace facet::comm {

/// `count` elements of an array, from `begin` on.
struct Part {
  std::size_t begin = 0, count = 0;

  std::size_t end() const { return begin + count; }
};

/// Elements whose values are gathered in bf16.
struct RoundedPart {
  Part elements;
  std::size_t begin = 0;  ///< where the array of bf16 values holds the first of them
};

/// The arrays of the values that ranks give to each other.
struct ExchangedValues {
  const base::PageBuffer& values;               ///< f32, of all elements
  const base::PageBuffer* rounded = nullptr;    ///< bf16, of the elements of `rounded_parts`; null where there are none
  std::vector<RoundedPart> rounded_parts = {};  ///< disjoint, ascending
};

/// What exchanging has taken in this process so far, in seconds.
struct ExchangeTimes {
  /// Sending, receiving, copying and adding, without waiting for other ranks of the host to begin; what is received
  /// over the network may be waited for.
  double total = 0;
  double waited = 0;  ///< of the training thread: waiting for other ranks, and what it did of `total` itself
  double cpu = 0;     ///< CPU time of `total`; of what compute threads do, their number times the time

  /// The share of the communication that computation hides.
  double hidden() const { return total > 0 ? std::clamp(1 - waited / total, 0.0, 1.0) : 0; }
};

/// When a bucket was exchanged in the last step, in seconds from the step's first exchange or read.
struct BucketTimes {
  std::size_t bytes = 0;           ///< of its gradients
  std::size_t gathered_bytes = 0;  ///< of its values
  double ready = 0;                ///< its gradients were complete
  double needed = 0;  ///< its values were first read, in the step before if this one hasn't read them; 0: never
};

/// Exchanges gradients and values of all ranks, bucket by bucket, while training goes on: gradients are summed, so that
/// each rank has the sum of its own part of each bucket (reduce-scatter), and the values that each rank has computed of
/// its own part are given to all (all-gather), those of some elements in bf16. Sums add the ranks of each host in their
/// order, then what hosts have, in the order of the ranks that exchange it.
///
/// Ranks of a host read each other's arrays in shared memory, where all hosts provide it and have as many ranks; else
/// all ranks exchange messages. Messages are exchanged in the background by a thread, unless MPI doesn't allow that;
/// without messages the training thread does all when it waits. All ranks start the same in the same order, from one
/// thread.
class BucketExchange {
 public:
  struct Options {
    bool reduces_bf16 = false;  ///< gradients are sent in messages rounded to bf16, and added in f32
  };

  /// @param buckets disjoint parts of the gradients, ascending, the same in all ranks. What is in no bucket is
  /// exchanged by nobody. @param gradients f32. They and the arrays of the values must outlive the exchange.
  BucketExchange(Communicator& communicator, std::vector<Part> buckets, const base::PageBuffer& gradients,
                 ExchangedValues values, const Options& options);
  /// Waits for what other hosts need.
  ~BucketExchange();
  BucketExchange(const BucketExchange&) = delete;
  BucketExchange& operator=(const BucketExchange&) = delete;

  std::span<const Part> buckets() const { return buckets_; }
  /// The first element of the gradients.
  float* gradients() const { return reinterpret_cast<float*>(gradients_.data()); }
  /// The part of a bucket that a rank sums and whose values it computes. May be empty.
  Part part(std::size_t bucket, int rank) const;
  Part own_part(std::size_t bucket) const;
  /// The parts of `range` that belong to a rank, ascending. Of what is in no bucket, all belongs to rank 0.
  std::vector<Part> parts_within(const Part& range, int rank) const;

  /// The gradients of the bucket are complete in this process; they may not change until finish_gather() of the bucket
  /// has returned.
  void start_reduce(std::size_t bucket);
  /// Returns when the gradients of the own part are the sum over all ranks.
  void finish_reduce(std::size_t bucket);
  /// The values of the own part, rounded ones too, are complete in this process. finish_reduce() has returned for the
  /// bucket.
  void start_gather(std::size_t bucket);
  /// Returns when the values of the whole bucket are those of all ranks. Where they are gathered in bf16, the other
  /// ranks' parts of the f32 array stay as they are until gather_rounded_values().
  /// @param is_read false: for bucket_times(), the call isn't the step's first read of the bucket.
  void finish_gather(std::size_t bucket, bool is_read = true);
  /// Forgets the sums that were started and not finished; called on all ranks.
  void abandon_reduces();

  /// Gives each rank's parts of another array of the same elements to all, at once. All ranks call it, while nothing is
  /// exchanged in the background.
  void gather(std::span<float> array);
  /// The same of the f32 values of the elements that are gathered in bf16.
  void gather_rounded_values();

  ExchangeTimes times() const;
  /// By bucket.
  std::span<const BucketTimes> bucket_times() const { return bucket_times_; }

 private:
  using Clock = std::chrono::steady_clock;

  enum class Stage : std::uint8_t { idle, reducing, reduced, gathering };
  struct Bucket {
    Stage stage = Stage::idle;
    std::uint64_t number = 0;  ///< of the last start
    bool is_done = false;      ///< what was started last has ended
    bool is_read = false;      ///< finish_gather() was called in this step
  };
  /// Contiguous bytes of one of the arrays of values.
  struct Piece {
    std::size_t array;
    std::size_t begin, bytes;

    std::span<std::byte> of(const base::PageBuffer& buffer) const { return {buffer.data() + begin, bytes}; }
  };
  using Pieces = std::vector<std::span<std::byte>>;
  /// What each rank tells the others of its host: how many reduces and gathers it has started.
  struct Progress {
    std::atomic<std::uint64_t> reduces, gathers;
    static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
  };

  /// Maps the arrays of the host's ranks and starts the thread; all ranks call it together.
  void connect();
  /// Part `number` of as many equal ones of the bucket as there are ranks.
  Part part_of(std::size_t bucket, std::size_t number) const;
  Channel channel() const { return thread_.joinable() ? Channel::background : Channel::foreground; }
  Threads threads() const { return thread_.joinable() ? Threads::caller : Threads::compute; }
  /// The parts of the ranks that this rank exchanges with over the network, its own included.
  Part exchanged_part(std::size_t bucket, std::size_t local) const;
  bool shares_memory() const { return !progress_.empty(); }
  bool is_networked() const { return partners_.size() > 1; }
  /// What is gathered of a part.
  std::vector<Piece> pieces_of(const Part& part) const;
  /// Gives the f32 elements of some ranges, ascending, to all ranks.
  void gather(std::span<float> array, std::span<const Part> ranges);
  /// Exchanges one message with each of the other `ranks`.
  /// @param pieces_of returns where a rank's message lies, as Pieces. @param exchange exchanges what it is given.
  void exchange_pieces(std::span<const int> ranks, Threads threads, const auto& pieces_of, const auto& exchange);
  std::span<float> gradients(const Part& part) const { return part_of_array(gradients_, part); }
  static std::span<float> part_of_array(const base::PageBuffer& array, const Part& part) {
    return {reinterpret_cast<float*>(array.data()) + part.begin, part.count};
  }
  std::atomic<std::uint64_t>& started(std::size_t local, bool gathers) const;
  void publish(bool gathers, std::uint64_t number) const;
  void wait_for_host(bool gathers, std::uint64_t number) const;

  void start(std::size_t bucket, Stage stage);
  /// Waits until the bucket's operation has ended, or runs it.
  void finish(std::size_t bucket);
  /// Runs the bucket's operation.
  void run(std::size_t bucket, Stage stage, std::uint64_t number);
  void reduce(std::size_t bucket);
  void sum_over_network(std::size_t bucket);
  void send_over_network(std::size_t bucket);
  void copy_from_host(std::size_t bucket);
  void work();
  double seconds_of_step() const { return std::chrono::duration<double>(Clock::now() - step_began_).count(); }

  Communicator& communicator_;
  std::vector<Part> buckets_;
  const base::PageBuffer& gradients_;
  std::vector<const base::PageBuffer*> values_;  ///< the array of f32, then that of bf16 where there is one
  std::vector<RoundedPart> rounded_parts_;
  Options options_;
  std::vector<std::size_t> numbers_;  ///< by rank: which of a bucket's equal parts is its own
  bool is_connected_ = false;
  std::vector<int> partners_;  ///< the ranks that this one exchanges with over the network, its own included
  base::PageBuffer own_progress_;
  std::vector<base::PageBuffer> host_gradients_, progress_;  ///< by local rank; empty: nothing is shared
  std::vector<std::vector<base::PageBuffer>> host_values_;   ///< by array, and by local rank
  std::vector<Bucket> states_;
  std::vector<BucketTimes> bucket_times_;
  std::uint64_t reduces_ = 0, gathers_ = 0;  ///< started so far
  bool is_new_step_ = true;
  Clock::time_point step_began_ = Clock::now();

  std::vector<std::span<const std::byte>> sent_;  ///< by rank
  std::vector<std::span<std::byte>> received_;
  std::vector<const float*> terms_;
  std::vector<float> sums_;  ///< received
  std::vector<std::uint16_t> sent_bf16_, received_bf16_;
  std::vector<std::byte> packed_;  ///< messages of several pieces

  mutable std::mutex mutex_;  ///< of what follows, and of the states' is_done
  std::condition_variable changed_;
  ExchangeTimes times_;
  std::deque<std::size_t> queue_;  ///< buckets whose operation the thread is to run
  std::exception_ptr error_;
  bool ends_ = false;
  std::jthread thread_;
};

}  // namespace facet::comm
