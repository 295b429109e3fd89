#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/memory.h"
#include "comm/placement.h"

/// How the processes that train one model together exchange data. A process is a rank, from 0 on.
namespace facet::comm {

/// The most bytes that are passed to a Transport at a time: 256 MiB.
inline constexpr std::size_t largest_message = std::size_t{1} << 28;

/// Messages of the two don't meet: a thread may use one while another uses the other.
enum class Channel : std::uint8_t { foreground, background };

/// Passes messages between processes. All processes call the same functions in the same order, from one thread at a
/// time; but for exchange() each channel has an order and a thread of its own. What fails in the network ends the
/// program.
class Transport {
 public:
  virtual ~Transport() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Connects the processes below `ranks`, which is at most size(), with the same ranks. All processes call it, while
  /// nothing is exchanged in the background; the others get null.
  virtual std::unique_ptr<Transport> first(int ranks) = 0;
  /// @param own as many bytes in each process. @param all receives them in the order of the ranks.
  virtual void all_gather(std::span<const std::byte> own, std::span<std::byte> all) = 0;
  /// Gives the bytes of process `root` to all; they have the same number of bytes.
  virtual void broadcast(std::span<std::byte> bytes, int root) = 0;
  /// Sends sent[r] to each other process r and receives received[r] from it; the entries of this process aren't used.
  /// At most 2^31 - 1 bytes each.
  virtual void exchange(std::span<const std::span<const std::byte>> sent,
                        std::span<const std::span<std::byte>> received, Channel channel) = 0;
  /// Whether another thread may exchange in the background.
  virtual bool has_background() const = 0;
  /// Called while a process waits for what another writes to shared memory. @throws where that can't come any more.
  virtual void check() const {}
  /// Ends all processes.
  [[noreturn]] virtual void abort(int status) = 0;
  /// See ProcessGroup; `on_lost` gets the ranks. Returns false where no rank can be lost alone.
  virtual bool watch(double /*timeout*/, int /*status*/,
                     std::function<void(const std::vector<int>& lost)> /*on_lost*/) {
    return false;
  }

  /// The ranks on this process's host, its own included, ascending.
  virtual std::span<const int> host_ranks() const = 0;
  /// Memory that the processes on this host share: a segment of each, all of the same number of bytes, in the order of
  /// host_ranks(); none where they can't share memory, on this host or on another.
  virtual std::span<const std::span<std::byte>> shared_segments() = 0;
  /// The buffer of each process on this host, as host_ranks() has them, mapped to be read; an empty one where that
  /// isn't possible. `own` must be shareable.
  virtual std::vector<base::PageBuffer> map_host(const base::PageBuffer& own) = 0;
  /// Returns when all processes on this host have called it; what they have written to the segments is then visible.
  virtual void host_barrier() = 0;

  /// The sum of the message-passing library itself, for comparison: MPI_Allreduce or, if `nonblocking`, MPI_Iallreduce.
  /// At most 2^31 - 1 values. It keeps heartbeats from being sent, so that the ranks may not be watched meanwhile.
  virtual void library_sum(std::span<float> values, bool nonblocking) = 0;
};

/// Joins the processes of MPI_COMM_WORLD. @throws Error as ProcessGroup::join() does.
std::unique_ptr<Transport> join_mpi();
/// The MPI that facet is built with, such as "Open MPI 4.1.4"; "none" where it is built without.
std::string mpi_version();

/// A process and those that it trains with. Sums add in the order of the ranks, so that the same ranks give the same
/// bits, and all ranks get the same. All processes call the same functions in the same order, with as many elements
/// where nothing else is said. Where a process is alone, nothing is sent.
class Communicator {
 public:
  /// This process alone.
  Communicator() = default;
  /// @param transport null: this process alone. @param given the CPUs that this process was given before any group
  ///   bound it to a part of them.
  explicit Communicator(std::unique_ptr<Transport> transport, GivenCpus given = given_cpus());

  int rank() const { return transport_ ? transport_->rank() : 0; }
  int size() const { return transport_ ? transport_->size() : 1; }
  bool is_alone() const { return size() == 1; }
  /// See ProcessGroup.
  int local_rank() const { return local_rank_; }
  int local_size() const { return local_size_; }
  int sharing_cores() const;
  void bind() const;
  /// By rank. All ranks call it together.
  std::vector<PlacedRank> placed_ranks();
  std::string name(int rank) const;
  /// See ProcessGroup.
  std::shared_ptr<Communicator> first(int ranks);
  /// By rank: its number among the ranks of its host.
  const std::vector<int>& all_local_ranks() const { return all_local_ranks_; }
  /// The ranks with this one's local rank, one of each host, ascending; empty where the hosts have
  /// different numbers of ranks.
  std::span<const int> peers() const { return peers_; }
  /// The CPUs that this process computes on once bind() is called; empty where it has always been alone.
  const std::vector<int>& cpus() const { return place_.cpus; }
  /// Null where this process is alone.
  Transport* transport() const { return transport_.get(); }

  /// See ProcessGroup::together.
  template <class Function>
  void together(const Function& function) {
    if (is_alone()) {
      function();
      return;
    }
    begin_exchange();
    std::exception_ptr error;
    try {
      function();
    } catch (...) {
      error = std::current_exception();
    }
    agree(error);
  }
  /// Calls `function` on rank 0; if it throws, this throws on all ranks.
  template <class Function>
  void on_first_rank(const Function& function) {
    together([&] {
      if (rank() == 0) function();
    });
  }
  /// Calls `root(ask)` on rank 0. ask(request) calls `serve(request)` on all ranks, in which they exchange what rank 0
  /// asks for. If `root` throws, or `serve` on one rank, this throws on all ranks; once `serve` has thrown, nothing can
  /// be asked any more. `Request` is trivially copyable.
  template <class Request, class Root, class Serve>
  void on_first_rank_asking(const Root& root, const Serve& serve) {
    if (is_alone()) {
      root(serve);
      return;
    }
    std::exception_ptr error, failed;  // of `root`, and of `serve`, which all ranks know
    if (rank() == 0) {
      const auto ask = [&](const Request& request) {
        if (failed != nullptr) std::rethrow_exception(failed);
        broadcast(std::optional<Request>(request));
        try {
          together([&] { serve(request); });
        } catch (...) {
          failed = std::current_exception();
          throw;
        }
      };
      try {
        root(ask);
      } catch (...) {
        error = std::current_exception();
      }
      if (failed != nullptr) std::rethrow_exception(failed);
      broadcast(std::optional<Request>());
    } else {
      while (const auto request = broadcast(std::optional<Request>())) together([&] { serve(*request); });
    }
    agree(error);
  }
  /// Throws on all ranks if `error` isn't null on one of them, as together() does where a function has thrown it.
  void agree(const std::exception_ptr& error);
  /// See ProcessGroup::has_failed.
  bool has_failed() const { return has_failed_; }

  /// Gives the same number of elements of each rank to all, in the order of the ranks.
  template <class T>
  void all_gather(std::span<const T> own, std::span<T> all) {
    static_assert(std::is_trivially_copyable_v<T>);
    gather_bytes(std::as_bytes(own), std::as_writable_bytes(all));
  }
  /// The same with one value of each rank.
  template <class T>
  std::vector<T> all_gather(const T& own) {
    std::vector<T> all(static_cast<std::size_t>(size()));
    all_gather(std::span<const T>(&own, 1), std::span<T>(all));
    return all;
  }
  /// See ProcessGroup.
  std::vector<std::string> gather(const std::string& text);
  std::int64_t max(std::int64_t value);
  /// Gives rank 0's elements to all.
  template <class T>
  void broadcast(std::span<T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    broadcast_bytes(std::as_writable_bytes(values), 0);
  }
  template <class T>
  T broadcast(T value) {
    broadcast(std::span<T>(&value, 1));
    return value;
  }
  void broadcast(std::string& text, int root = 0);
  /// See Transport; of any number of bytes.
  void exchange(std::span<const std::span<const std::byte>> sent, std::span<const std::span<std::byte>> received);

  /// Sums each element over the ranks, in double; for a few numbers.
  void sum(std::span<double> values);
  /// Sums each element over the ranks, in f32: each rank adds a slice of the elements, then all exchange their slices,
  /// which moves no more bytes than a ring does. Where several ranks share each host's memory, as many on each, they
  /// add on their host first, then the hosts' sums in the order of their first ranks.
  void sum(std::span<float> values);

  /// Seconds that the functions above have taken so far: moving bytes, adding, and waiting for the ranks that come
  /// later, also where all agree that none has failed.
  double blocked_seconds() const { return blocked_seconds_; }

  [[noreturn]] void abort(int status);
  /// See ProcessGroup.
  bool watch(double timeout, int status, const std::function<void(const std::vector<std::string>& names)>& on_lost);

  /// See Transport. @throws Error for more than 2^31 - 1 values.
  void library_sum(std::span<float> values, bool nonblocking);

 private:
  /// Forgets what was thrown in the exchange before.
  void begin_exchange() {
    agreed_ = nullptr;
    has_failed_ = false;
  }
  /// @param local the ranks on this host.
  Place place_of_own(std::span<const int> local);
  void gather_bytes(std::span<const std::byte> own, std::span<std::byte> all);
  void broadcast_bytes(std::span<std::byte> bytes, int root);

  /// Sums over some ranks, this one among them, in their order.
  void sum_over(std::span<const int> ranks, std::span<float> values);
  /// Sums in shared memory.
  void sum_by_hosts(std::span<float> values);

  std::unique_ptr<Transport> transport_;
  std::vector<int> all_ranks_, all_local_ranks_;
  std::vector<int> peers_;
  GivenCpus given_;
  Place place_;
  std::span<const std::span<std::byte>> segments_;  ///< of this host's ranks, where sums are computed in them
  std::vector<std::string> hosts_;                  ///< by rank
  int local_rank_ = 0, local_size_ = 1;
  std::int64_t local_cores_ = 0;  ///< of all ranks on this host; those that several use are counted for each of them
  std::exception_ptr agreed_;     ///< what agree() threw; null once something else is exchanged
  bool is_watched_ = false;
  bool has_failed_ = false;  ///< all ranks threw in the last exchange
  std::vector<float> received_;
  double blocked_seconds_ = 0;
  bool is_second_half_ = false;  ///< of the shared segments, which the last part of a sum has used
};

}  // namespace facet::comm
