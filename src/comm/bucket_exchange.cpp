#include "comm/bucket_exchange.h"

#include <ctime>
#include <new>
#include <numeric>
#include <utility>

#include "base/bf16.h"
#include "base/parallel.h"
#include "base/topology.h"
#include "comm/wait.h"

namespace facet::comm {
namespace {

/// Parts begin at multiples of so many elements, which is a cache line.
constexpr std::size_t alignment = 16;
/// The most elements that are received at a time: 16 MiB.
constexpr std::size_t most_received = std::size_t{1} << 22;

double cpu_seconds_of_thread() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

Part intersection(const Part& a, const Part& b) {
  const std::size_t begin = std::max(a.begin, b.begin), end = std::min(a.end(), b.end());
  return {begin, end > begin ? end - begin : 0};
}

}  // namespace

BucketExchange::BucketExchange(Communicator& communicator, std::vector<Part> buckets, const base::PageBuffer& gradients,
                               ExchangedValues values, const Options& options)
    : communicator_(communicator),
      buckets_(std::move(buckets)),
      gradients_(gradients),
      values_{&values.values},
      rounded_parts_(std::move(values.rounded_parts)),
      options_(options),
      states_(buckets_.size()),
      bucket_times_(buckets_.size()) {
  // The parts of a host's ranks follow each other by local rank, and within each by host, so that a rank exchanges one
  // contiguous part with its peers.
  const auto size = static_cast<std::size_t>(communicator.size());
  numbers_.resize(size);
  std::iota(numbers_.begin(), numbers_.end(), std::size_t{0});
  if (const std::size_t hosts = communicator.peers().size(); hosts > 0) {
    const std::vector<int> local_ranks = communicator.all_local_ranks();
    std::vector<std::size_t> hosts_before(size);
    for (std::size_t r = 0; r < size; ++r) {
      const auto local = static_cast<std::size_t>(local_ranks[r]);
      numbers_[r] = local * hosts + hosts_before[local]++;
    }
  }
  if (!rounded_parts_.empty()) values_.push_back(values.rounded);
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    bucket_times_[i].bytes = buckets_[i].count * sizeof(float);
    for (const Piece& piece : pieces_of(buckets_[i])) bucket_times_[i].gathered_bytes += piece.bytes;
  }
  sent_.resize(size);
  received_.resize(size);
}

BucketExchange::~BucketExchange() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
}

Part BucketExchange::part_of(std::size_t bucket, std::size_t number) const {
  const Part& whole = buckets_[bucket];
  const std::size_t parts = numbers_.size();
  const auto boundary = [&](std::size_t i) {
    return i == parts ? whole.end() : whole.begin + whole.count * i / parts / alignment * alignment;
  };
  return {boundary(number), boundary(number + 1) - boundary(number)};
}

Part BucketExchange::part(std::size_t bucket, int rank) const {
  return part_of(bucket, numbers_[static_cast<std::size_t>(rank)]);
}

Part BucketExchange::own_part(std::size_t bucket) const { return part(bucket, communicator_.rank()); }

std::vector<Part> BucketExchange::parts_within(const Part& range, int rank) const {
  std::vector<Part> parts;
  const auto add = [&](const Part& part) {
    if (const Part found = intersection(range, part); found.count > 0) parts.push_back(found);
  };
  std::size_t end = 0;  // of the last bucket
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    if (rank == 0) add({end, buckets_[i].begin - end});
    add(part(i, rank));
    end = buckets_[i].end();
  }
  if (rank == 0 && range.end() > end) add({end, range.end() - end});
  return parts;
}

std::vector<BucketExchange::Piece> BucketExchange::pieces_of(const Part& part) const {
  std::vector<Piece> pieces;
  const auto add = [&](std::size_t array, std::size_t element, std::size_t begin, std::size_t count) {
    if (count > 0) pieces.push_back({array, begin * element, count * element});
  };
  std::size_t begin = part.begin;
  const auto is_before = [&](const RoundedPart& rounded) { return rounded.elements.end() <= part.begin; };
  for (auto rounded = std::ranges::partition_point(rounded_parts_, is_before);
       rounded != rounded_parts_.end() && rounded->elements.begin < part.end(); ++rounded) {
    const Part found = intersection(part, rounded->elements);
    if (found.count == 0) continue;
    add(0, sizeof(float), begin, found.begin - begin);
    add(1, sizeof(std::uint16_t), rounded->begin + (found.begin - rounded->elements.begin), found.count);
    begin = found.end();
  }
  add(0, sizeof(float), begin, part.end() - begin);
  return pieces;
}

Part BucketExchange::exchanged_part(std::size_t bucket, std::size_t local) const {
  if (!shares_memory()) return buckets_[bucket];
  const std::size_t hosts = partners_.size();
  const Part first = part_of(bucket, local * hosts), last = part_of(bucket, local * hosts + hosts - 1);
  return {first.begin, last.end() - first.begin};
}

void BucketExchange::connect() {
  is_connected_ = true;
  Transport& transport = *communicator_.transport();
  communicator_.together([&] {
    own_progress_ = base::PageBuffer::shareable(sizeof(Progress));
    new (own_progress_.data()) Progress{};
  });
  if (communicator_.local_size() > 1 && !communicator_.peers().empty()) {
    host_gradients_ = transport.map_host(gradients_);
    for (const base::PageBuffer* const array : values_) host_values_.push_back(transport.map_host(*array));
    progress_ = transport.map_host(own_progress_);
  }
  const auto are_mapped = [](const std::vector<base::PageBuffer>& buffers) {
    return std::ranges::all_of(buffers, [](const base::PageBuffer& buffer) { return buffer.data() != nullptr; });
  };
  const bool is_shared = !progress_.empty() && are_mapped(progress_) && are_mapped(host_gradients_) &&
                         std::ranges::all_of(host_values_, are_mapped);
  if (communicator_.max(is_shared ? 0 : 1) > 0) {
    host_gradients_.clear();
    host_values_.clear();
    progress_.clear();
    partners_.resize(numbers_.size());
    std::iota(partners_.begin(), partners_.end(), 0);
  } else {
    partners_.assign(communicator_.peers().begin(), communicator_.peers().end());
  }
  communicator_.together([&] {
    if (!is_networked()) return;
    std::size_t largest = 0;  // allocated now, where the others don't wait for this rank
    for (std::size_t i = 0; i < buckets_.size(); ++i) largest = std::max(largest, buckets_[i].count);
    const std::size_t elements = std::min(largest, most_received) + partners_.size() * alignment;
    sums_.reserve(elements);
    if (options_.reduces_bf16) {
      sent_bf16_.reserve(elements);
      received_bf16_.reserve(elements);
    }
    if (!rounded_parts_.empty()) packed_.reserve(largest * sizeof(float));
    terms_.reserve(numbers_.size());
    if (transport.has_background()) thread_ = std::jthread([this] { work(); });
  });
}

std::atomic<std::uint64_t>& BucketExchange::started(std::size_t local, bool gathers) const {
  auto* const progress = reinterpret_cast<Progress*>(progress_[local].data());
  return gathers ? progress->gathers : progress->reduces;
}

void BucketExchange::publish(bool gathers, std::uint64_t number) const {
  if (!shares_memory()) return;
  auto* const own = reinterpret_cast<Progress*>(own_progress_.data());
  (gathers ? own->gathers : own->reduces).store(number, std::memory_order_release);
}

void BucketExchange::wait_for_host(bool gathers, std::uint64_t number) const {
  for (std::size_t local = 0; local < progress_.size(); ++local) {
    const std::atomic<std::uint64_t>& theirs = started(local, gathers);
    wait_until(
        [&] {
          communicator_.transport()->check();
          return theirs.load(std::memory_order_acquire) >= number;
        },
        thread_.joinable() ? background_patience : training_patience);
  }
}

void BucketExchange::exchange_pieces(std::span<const int> ranks, Threads threads, const auto& pieces_of,
                                     const auto& exchange) {
  std::vector<Pieces> pieces;
  std::size_t packed_bytes = 0;
  for (const int r : ranks) {
    const Pieces& theirs = pieces.emplace_back(pieces_of(r));
    if (theirs.size() < 2) continue;  // sent and received where it lies
    for (const std::span<std::byte> piece : theirs) packed_bytes += piece.size();
  }
  if (packed_.size() < packed_bytes) packed_.resize(packed_bytes);

  std::vector<Copy> packing, unpacking;
  std::span<std::byte> free = packed_, own;
  std::vector<std::span<const std::byte>> sent(numbers_.size());
  std::vector<std::span<std::byte>> received(sent.size());
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const bool is_own = ranks[i] == communicator_.rank();
    std::span<std::byte> message;
    if (pieces[i].size() == 1) message = pieces[i].front();
    if (pieces[i].size() > 1) {
      std::size_t bytes = 0;
      for (const std::span<std::byte> piece : pieces[i]) {
        const std::span<std::byte> packed = free.subspan(bytes, piece.size());
        is_own ? packing.push_back({piece, packed}) : unpacking.push_back({packed, piece});
        bytes += piece.size();
      }
      message = free.first(bytes);
      free = free.subspan(bytes);
    }
    (is_own ? own : received[static_cast<std::size_t>(ranks[i])]) = message;
  }
  for (const int r : ranks) sent[static_cast<std::size_t>(r)] = own;
  copy_bytes(packing, threads);
  exchange(sent, received);
  copy_bytes(unpacking, threads);
}

// --- the training thread ---------------------------------------------------------------------------------------------

void BucketExchange::start_reduce(std::size_t bucket) {
  if (!is_connected_) connect();
  bucket_times_[bucket].ready = seconds_of_step();
  start(bucket, Stage::reducing);
}

void BucketExchange::finish_reduce(std::size_t bucket) {
  if (states_[bucket].stage == Stage::reducing) finish(bucket);
}

void BucketExchange::start_gather(std::size_t bucket) {
  is_new_step_ = true;
  states_[bucket].is_read = false;
  start(bucket, Stage::gathering);
}

void BucketExchange::finish_gather(std::size_t bucket, bool is_read) {
  Bucket& state = states_[bucket];
  if (is_read) {
    if (is_new_step_) step_began_ = Clock::now();
    is_new_step_ = false;
    if (!state.is_read) bucket_times_[bucket].needed = seconds_of_step();
    state.is_read = true;
  }
  if (state.stage == Stage::gathering) finish(bucket);
}

void BucketExchange::abandon_reduces() {
  for (std::size_t i = 0; i < states_.size(); ++i) {
    if (states_[i].stage != Stage::reducing) continue;
    // What is on its way in the network has to arrive; what is only read in memory isn't begun.
    try {
      if (is_networked()) finish(i);
    } catch (...) {
      // The exchange is of no use any more, and the next start or finish says so.
    }
    states_[i].stage = Stage::idle;
  }
}

void BucketExchange::start(std::size_t bucket, Stage stage) {
  const bool gathers = stage == Stage::gathering;
  Bucket& state = states_[bucket];
  state.number = gathers ? ++gathers_ : ++reduces_;
  state.stage = stage;
  // Over the network, a host's ranks may copy the values only once those of other hosts are there.
  if (!gathers || !is_networked()) publish(gathers, state.number);
  if (!is_networked()) return;
  if (!thread_.joinable()) {
    finish(bucket);
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    state.is_done = false;
    queue_.push_back(bucket);
  }
  changed_.notify_all();
}

void BucketExchange::finish(std::size_t bucket) {
  Bucket& state = states_[bucket];
  const Clock::time_point began = Clock::now();
  if (thread_.joinable()) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return state.is_done || error_ != nullptr; });
    if (error_ != nullptr) std::rethrow_exception(error_);
  } else {
    run(bucket, state.stage, state.number);
  }
  state.stage = state.stage == Stage::reducing ? Stage::reduced : Stage::idle;
  const std::lock_guard lock(mutex_);
  times_.waited += std::chrono::duration<double>(Clock::now() - began).count();
}

void BucketExchange::gather(std::span<float> array, std::span<const Part> ranges) {
  std::vector<int> all(numbers_.size());
  std::iota(all.begin(), all.end(), 0);
  for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    const auto pieces = [&](int rank) {
      Pieces found;
      for (const Part& range : ranges) {
        const Part each = intersection(part(bucket, rank), range);
        if (each.count > 0) found.push_back(std::as_writable_bytes(array.subspan(each.begin, each.count)));
      }
      return found;
    };
    exchange_pieces(all, Threads::compute, pieces,
                    [&](const auto& sent, const auto& received) { communicator_.exchange(sent, received); });
  }
}

void BucketExchange::gather(std::span<float> array) {
  const Part whole{0, array.size()};
  gather(array, {&whole, 1});
}

void BucketExchange::gather_rounded_values() {
  std::vector<Part> ranges;
  for (const RoundedPart& rounded : rounded_parts_) ranges.push_back(rounded.elements);
  if (!ranges.empty()) gather(part_of_array(*values_[0], {0, ranges.back().end()}), ranges);
}

ExchangeTimes BucketExchange::times() const {
  const std::lock_guard lock(mutex_);
  return times_;
}

// --- the operations, on the training thread or in the background -----------------------------------------------------

void BucketExchange::run(std::size_t bucket, Stage stage, std::uint64_t number) {
  const bool gathers = stage == Stage::gathering, is_background = thread_.joinable();
  double seconds = 0, cpu = 0;
  const auto timed = [&](const auto& operation) {
    const Clock::time_point began = Clock::now();
    const double cpu_before = cpu_seconds_of_thread();
    operation();
    const double taken = std::chrono::duration<double>(Clock::now() - began).count();
    seconds += taken;
    cpu += is_background ? cpu_seconds_of_thread() - cpu_before : taken * base::current_threads();
  };
  if (gathers && is_networked()) {
    timed([&] { send_over_network(bucket); });
    publish(true, number);
  }
  if (shares_memory()) wait_for_host(gathers, number);
  timed([&] { gathers ? copy_from_host(bucket) : reduce(bucket); });
  const std::lock_guard lock(mutex_);
  times_.total += seconds;
  times_.cpu += cpu;
}

void BucketExchange::reduce(std::size_t bucket) {
  const auto local = static_cast<std::size_t>(communicator_.local_rank());
  const Part own = exchanged_part(bucket, local);
  if (shares_memory()) {
    terms_.clear();
    for (std::size_t l = 0; l < host_gradients_.size(); ++l) {
      terms_.push_back(l == local ? gradients(own).data() : part_of_array(host_gradients_[l], own).data());
    }
    add_in_order(terms_, gradients(own), threads());
  }
  if (is_networked()) sum_over_network(bucket);
}

namespace {

/// Elements [begin, begin + count) of a part, as many of them as there are.
Part chunk_of(const Part& part, std::size_t begin, std::size_t count) {
  const std::size_t from = std::min(begin, part.count);
  return {part.begin + from, std::min(count, part.count - from)};
}

}  // namespace

void BucketExchange::sum_over_network(std::size_t bucket) {
  const Part own = own_part(bucket);
  std::size_t longest = 0;
  for (const int r : partners_) longest = std::max(longest, part(bucket, r).count);
  const std::size_t others = partners_.size() - 1, chunk = std::max(most_received / others, alignment);
  sums_.resize(others * std::min(chunk, own.count));
  if (options_.reduces_bf16) {
    received_bf16_.resize(sums_.size());
    sent_bf16_.resize(others * std::min(chunk, longest));
  }
  for (std::size_t begin = 0; begin < longest; begin += chunk) {
    const Part to_add = chunk_of(own, begin, chunk);
    terms_.clear();
    std::size_t received = 0, sent = 0;
    for (const int r : partners_) {
      if (r == communicator_.rank()) {
        terms_.push_back(gradients(to_add).data());
        continue;
      }
      const auto at = static_cast<std::size_t>(r);
      const std::span<const float> theirs = gradients(chunk_of(part(bucket, r), begin, chunk));
      const std::span<float> sum = std::span(sums_).subspan(received, to_add.count);
      terms_.push_back(sum.data());
      if (options_.reduces_bf16) {
        const std::span<std::uint16_t> rounded = std::span(sent_bf16_).subspan(sent, theirs.size());
        std::ranges::transform(theirs, rounded.begin(), base::to_bf16);
        sent_[at] = std::as_bytes(rounded);
        received_[at] = std::as_writable_bytes(std::span(received_bf16_).subspan(received, to_add.count));
      } else {
        sent_[at] = std::as_bytes(theirs);
        received_[at] = std::as_writable_bytes(sum);
      }
      received += to_add.count;
      sent += theirs.size();
    }
    communicator_.transport()->exchange(sent_, received_, channel());
    if (options_.reduces_bf16) {
      std::ranges::transform(std::span(received_bf16_).first(received), sums_.begin(), base::from_bf16);
    }
    add_in_order(terms_, gradients(to_add), threads());
  }
}

void BucketExchange::send_over_network(std::size_t bucket) {
  const auto pieces = [&](int rank) {
    Pieces found;
    for (const Piece& piece : pieces_of(part(bucket, rank))) found.push_back(piece.of(*values_[piece.array]));
    return found;
  };
  const auto exchange = [&](auto sent, auto received) {
    std::size_t longest = 0;
    for (const auto bytes : sent) longest = std::max(longest, bytes.size());
    for (const auto bytes : received) longest = std::max(longest, bytes.size());
    const auto next = [](auto& message) {
      const auto bytes = message.first(std::min(largest_message, message.size()));
      message = message.subspan(bytes.size());
      return bytes;
    };
    for (; longest > 0; longest -= std::min(largest_message, longest)) {
      std::ranges::transform(sent, sent_.begin(), next);
      std::ranges::transform(received, received_.begin(), next);
      communicator_.transport()->exchange(sent_, received_, channel());
    }
  };
  exchange_pieces(partners_, threads(), pieces, exchange);
}

void BucketExchange::copy_from_host(std::size_t bucket) {
  std::vector<Copy> copies;
  for (std::size_t l = 0; l < progress_.size(); ++l) {
    if (l == static_cast<std::size_t>(communicator_.local_rank())) continue;
    for (const Piece& piece : pieces_of(exchanged_part(bucket, l))) {
      copies.push_back({piece.of(host_values_[piece.array][l]), piece.of(*values_[piece.array])});
    }
  }
  copy_bytes(copies, threads());
}

void BucketExchange::work() {
  base::set_affinity(communicator_.cpus());  // not on the one core to which OpenMP may bind the training thread
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return ends_ || !queue_.empty(); });
    if (queue_.empty()) return;
    const std::size_t bucket = queue_.front();
    queue_.pop_front();
    const Stage stage = states_[bucket].stage;
    const std::uint64_t number = states_[bucket].number;
    lock.unlock();
    try {
      run(bucket, stage, number);
    } catch (...) {
      lock.lock();
      error_ = std::current_exception();
      changed_.notify_all();
      return;
    }
    lock.lock();
    states_[bucket].is_done = true;
    changed_.notify_all();
  }
}

}  // namespace facet::comm
