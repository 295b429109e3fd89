#include "comm/communicator.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <new>
#include <utility>

#include "base/machine.h"
#include "base/topology.h"
#include "comm/add.h"
#include "facet/error.h"

namespace facet::comm {
namespace {

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown host";
}

std::string text_of(const std::vector<int>& cpus) {
  return {reinterpret_cast<const char*>(cpus.data()), cpus.size() * sizeof(int)};
}

std::vector<int> cpus_of(const std::string& text) {
  std::vector<int> cpus(text.size() / sizeof(int));
  std::memcpy(cpus.data(), text.data(), cpus.size() * sizeof(int));
  return cpus;
}

std::int64_t cores_of(const std::vector<int>& cpus) { return std::ssize(base::Topology::machine().by_core(cpus)); }

/// What a rank tells of an exception.
struct Failure {
  ErrorCode code = ErrorCode::invalid_argument;
  std::string text;

  explicit Failure(const std::exception_ptr& error) {
    try {
      std::rethrow_exception(error);
    } catch (const Error& found) {
      code = found.code();
      text = found.what();
    } catch (const std::bad_alloc&) {
      code = ErrorCode::out_of_memory;
      text = "out of memory";
    } catch (const std::exception& found) {
      text = found.what();
    } catch (...) {
      text = "an exception of an unknown type";
    }
  }
};

/// Adds the seconds of its life to a sum.
class Stopwatch {
 public:
  explicit Stopwatch(double& sum) : sum_(sum), begin_(Clock::now()) {}
  ~Stopwatch() { sum_ += std::chrono::duration<double>(Clock::now() - begin_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  using Clock = std::chrono::steady_clock;

  double& sum_;
  Clock::time_point begin_;
};

/// Slice `number` of as many equal ones as there are ranks.
std::span<float> slice_of(std::span<float> values, std::size_t number, std::size_t slices) {
  const std::size_t begin = values.size() * number / slices, end = values.size() * (number + 1) / slices;
  return values.subspan(begin, end - begin);
}

}  // namespace

Communicator::Communicator(std::unique_ptr<Transport> transport, GivenCpus given)
    : transport_(std::move(transport)), given_(std::move(given)), place_{.cpus = given_.cpus} {
  if (!transport_) return;
  hosts_ = gather(host_name());
  const std::span<const int> local = transport_->host_ranks();
  local_size_ = static_cast<int>(local.size());
  local_rank_ = static_cast<int>(std::ranges::find(local, rank()) - local.begin());
  place_ = place_of_own(local);
  const std::vector<int> local_sizes = all_gather(local_size_);
  all_local_ranks_ = all_gather(local_rank_);
  for (int r = 0; r < size(); ++r) {
    all_ranks_.push_back(r);
    if (all_local_ranks_[static_cast<std::size_t>(r)] == local_rank_) peers_.push_back(r);
  }
  if (std::ranges::count(local_sizes, local_size_) != size()) peers_.clear();
  // Now, since MPI allocates it in a call in which other threads of a process can't exchange.
  if (local_size_ > 1 && !peers_.empty()) segments_ = transport_->shared_segments();
}

Place Communicator::place_of_own(std::span<const int> local) {
  const std::vector<std::string> cpus = gather(text_of(given_.cpus));
  const auto have_places = all_gather(static_cast<std::uint8_t>(given_.has_places ? 1 : 0));
  std::vector<GivenCpus> given;
  for (const int r : local) {
    const auto at = static_cast<std::size_t>(r);
    given.push_back({.cpus = cpus_of(cpus[at]), .has_places = have_places[at] != 0});
  }
  const std::vector<Place> places = place_ranks(base::Topology::machine(), given, base::cgroup_cores("/"));
  for (const Place& place : places) local_cores_ += cores_of(place.cpus);
  return places[static_cast<std::size_t>(local_rank_)];
}

int Communicator::sharing_cores() const {
  if (is_alone()) return 1;
  return std::max(place_.sharing, ranks_in_quota(cores_of(place_.cpus), local_cores_, base::cgroup_cores("/")));
}

void Communicator::bind() const {
  if (place_.cpus.empty() || given_.has_places || base::affinity() == place_.cpus) return;
  base::set_process_affinity(place_.cpus);
}

std::vector<PlacedRank> Communicator::placed_ranks() {
  struct Told {
    int host = 0, sharing = 1, cores = 1, host_cores = 1, cpus_per_core = 1;
    bool is_divided = false, has_places = false;
  };
  const GivenCpus given = given_.cpus.empty() ? given_cpus() : given_;
  const std::vector<int>& own = given_.cpus.empty() ? given.cpus : place_.cpus;
  const std::int64_t quota = base::cgroup_cores("/");
  const auto cores_within_quota = [&](const std::vector<int>& cpus) {
    return static_cast<int>(std::clamp<std::int64_t>(quota, 1, cores_of(cpus)));
  };
  const base::Topology& machine = base::Topology::machine();
  Told told{.host = transport_ ? transport_->host_ranks().front() : 0,
            .sharing = place_.sharing,
            .cores = cores_within_quota(own),
            .is_divided = place_.is_divided,
            .has_places = given.has_places};
  // srun gives each task one CPU where nothing else is asked for, and may hide the others.
  const bool hides_others = told.cores == 1 && launcher_of_environment() == Launcher::srun;
  const std::vector<int> cpus = hides_others ? machine.cpus() : machine.allowed_cpus();
  const std::int64_t cores = std::max<std::int64_t>(cores_of(cpus), 1);
  told.cpus_per_core = static_cast<int>((std::ssize(cpus) + cores - 1) / cores);
  told.host_cores = cores_within_quota(cpus);
  if (const char* const of_job = std::getenv("SLURM_JOB_CPUS_PER_NODE"); of_job != nullptr) {
    const int of_node = least_slurm_cpus(of_job);
    if (of_node > 0) told.host_cores = std::clamp(of_node / told.cpus_per_core, 1, told.host_cores);
  }
  const std::vector<Told> all = all_gather(told);
  const std::vector<std::string> all_cpus = gather(text_of(own));
  std::vector<PlacedRank> ranks;
  for (std::size_t r = 0; r < all.size(); ++r) {
    const Told& t = all[r];
    ranks.push_back({.host = t.host,
                     .host_name = hosts_.empty() ? "" : hosts_[r],
                     .place = {.cpus = cpus_of(all_cpus[r]), .sharing = t.sharing, .is_divided = t.is_divided},
                     .has_places = t.has_places,
                     .cores = t.cores,
                     .host_cores = t.host_cores,
                     .cpus_per_core = t.cpus_per_core});
  }
  return ranks;
}

std::string Communicator::name(int rank) const {
  if (is_alone()) return "rank 0";
  return fmt::format("rank {} ({})", rank, hosts_.at(static_cast<std::size_t>(rank)));
}

std::shared_ptr<Communicator> Communicator::first(int ranks) {
  if (ranks < 1 || ranks > size()) {
    throw Error(fmt::format("a group of the first {} ranks of {} found; 1 to {} are allowed", ranks, size(), size()));
  }
  begin_exchange();
  std::unique_ptr<Transport> part = ranks > 1 ? transport_->first(ranks) : nullptr;
  if (!part && rank() > 0) return std::make_shared<Communicator>();
  return std::make_shared<Communicator>(std::move(part), given_);
}

void Communicator::agree(const std::exception_ptr& error) {
  // What all ranks throw already needs no further exchange.
  if (error != nullptr && (is_alone() || error == agreed_)) std::rethrow_exception(error);
  if (is_alone()) return;
  const std::vector<std::uint8_t> failed = all_gather(static_cast<std::uint8_t>(error != nullptr ? 1 : 0));
  const auto found = std::ranges::find(failed, 1);
  if (found == failed.end()) return;
  if (std::ranges::count(failed, 0) == 0) {
    agreed_ = error;
    has_failed_ = true;
    std::rethrow_exception(error);
  }
  const auto first = static_cast<int>(found - failed.begin());
  ErrorCode code = ErrorCode::invalid_argument;
  std::string text;
  if (rank() == first) {
    const Failure failure(error);
    code = failure.code;
    text = failure.text;
  }
  broadcast_bytes(std::as_writable_bytes(std::span(&code, 1)), first);
  broadcast(text, first);
  agreed_ = rank() == first ? error : std::make_exception_ptr(Error(fmt::format("{}: {}", name(first), text), code));
  has_failed_ = true;
  std::rethrow_exception(agreed_);
}

void Communicator::gather_bytes(std::span<const std::byte> own, std::span<std::byte> all) {
  begin_exchange();
  if (own.size() > std::numeric_limits<std::int32_t>::max()) {
    throw Error(fmt::format("{} bytes of a process found; at most 2 GiB can be gathered", own.size()));
  }
  if (transport_) {
    const Stopwatch stopwatch(blocked_seconds_);
    transport_->all_gather(own, all);
  } else {
    std::ranges::copy(own, all.begin());
  }
}

void Communicator::broadcast_bytes(std::span<std::byte> bytes, int root) {
  begin_exchange();
  if (!transport_) return;
  const Stopwatch stopwatch(blocked_seconds_);
  for (std::size_t begin = 0; begin < bytes.size(); begin += largest_message) {
    transport_->broadcast(bytes.subspan(begin, std::min(largest_message, bytes.size() - begin)), root);
  }
}

void Communicator::exchange(std::span<const std::span<const std::byte>> sent,
                            std::span<const std::span<std::byte>> received) {
  if (is_alone()) return;
  begin_exchange();
  const Stopwatch stopwatch(blocked_seconds_);
  std::size_t most = 0;
  for (const auto bytes : sent) most = std::max(most, bytes.size());
  for (const auto bytes : received) most = std::max(most, bytes.size());
  std::vector<std::span<const std::byte>> sent_now(sent.size());
  std::vector<std::span<std::byte>> received_now(received.size());
  for (std::size_t begin = 0; begin < most; begin += largest_message) {
    const auto part = [&](const auto& bytes) {
      const std::size_t at = std::min(begin, bytes.size());
      return bytes.subspan(at, std::min(largest_message, bytes.size() - at));
    };
    std::ranges::transform(sent, sent_now.begin(), part);
    std::ranges::transform(received, received_now.begin(), part);
    transport_->exchange(sent_now, received_now, Channel::foreground);
  }
}

void Communicator::broadcast(std::string& text, int root) {
  std::uint64_t size = text.size();
  broadcast_bytes(std::as_writable_bytes(std::span(&size, 1)), root);
  text.resize(size);
  broadcast_bytes(std::as_writable_bytes(std::span(text)), root);
}

std::vector<std::string> Communicator::gather(const std::string& text) {
  const std::vector<std::uint64_t> sizes = all_gather(std::uint64_t{text.size()});
  const std::uint64_t longest = *std::ranges::max_element(sizes);
  std::string own = text, all(longest * sizes.size(), '\0');
  own.resize(longest);
  all_gather(std::span<const char>(own), std::span<char>(all));
  std::vector<std::string> texts;
  for (std::size_t r = 0; r < sizes.size(); ++r) texts.push_back(all.substr(r * longest, sizes[r]));
  return texts;
}

std::int64_t Communicator::max(std::int64_t value) {
  if (is_alone()) return value;
  const std::vector<std::int64_t> values = all_gather(value);
  return *std::ranges::max_element(values);
}

void Communicator::sum(std::span<double> values) {
  if (is_alone()) return;
  std::vector<double> all(values.size() * static_cast<std::size_t>(size()));
  all_gather(std::span<const double>(values), std::span(all));
  for (std::size_t i = 0; i < values.size(); ++i) {
    double total = 0;
    for (std::size_t at = i; at < all.size(); at += values.size()) total += all[at];
    values[i] = total;
  }
}

void Communicator::sum(std::span<float> values) {
  if (is_alone()) return;
  begin_exchange();
  const Stopwatch stopwatch(blocked_seconds_);
  if (!segments_.empty()) {
    sum_by_hosts(values);
  } else {
    sum_over(all_ranks_, values);
  }
}

void Communicator::sum_over(std::span<const int> ranks, std::span<float> values) {
  const std::size_t count = ranks.size();
  const auto own = static_cast<std::size_t>(std::ranges::find(ranks, rank()) - ranks.begin());
  // Elements are summed in parts, so that what is received takes little memory: up to 16 MiB for up to 1024 ranks.
  constexpr std::size_t largest = std::size_t{1} << 18, least = std::size_t{1} << 12;
  const std::size_t slice_elements = std::clamp((std::size_t{1} << 22) / count, least, largest);
  std::vector<std::span<const std::byte>> sent(static_cast<std::size_t>(size()));
  std::vector<std::span<std::byte>> received(sent.size());
  std::vector<const float*> terms(count);
  for (std::size_t begin = 0; begin < values.size(); begin += count * slice_elements) {
    const std::span<float> part = values.subspan(begin, std::min(count * slice_elements, values.size() - begin));
    const std::span<float> slice = slice_of(part, own, count);
    received_.resize(count * slice.size());
    for (std::size_t i = 0; i < count; ++i) {
      const std::span<float> in = std::span(received_).subspan(i * slice.size(), slice.size());
      sent[static_cast<std::size_t>(ranks[i])] = std::as_bytes(slice_of(part, i, count));
      received[static_cast<std::size_t>(ranks[i])] = std::as_writable_bytes(in);
      terms[i] = i == own ? slice.data() : in.data();
    }
    transport_->exchange(sent, received, Channel::foreground);
    add_in_order(terms, slice);
    for (std::size_t i = 0; i < count; ++i) {
      sent[static_cast<std::size_t>(ranks[i])] = std::as_bytes(slice);
      received[static_cast<std::size_t>(ranks[i])] = std::as_writable_bytes(slice_of(part, i, count));
    }
    transport_->exchange(sent, received, Channel::foreground);
  }
}

void Communicator::sum_by_hosts(std::span<float> values) {
  // The two halves of the segments take turns, from sum to sum. When a rank writes to a half again, all have met twice
  // since it was filled, and so have read it.
  const std::size_t count = segments_.size(), half = segments_[0].size() / 2 / sizeof(float);
  const auto own = static_cast<std::size_t>(local_rank_);
  std::vector<const float*> terms(count);
  for (std::size_t begin = 0; begin < values.size(); begin += half) {
    is_second_half_ = !is_second_half_;
    const std::span<float> part = values.subspan(begin, std::min(half, values.size() - begin));
    const auto shared_part = [&](std::size_t i) {
      return std::span(reinterpret_cast<float*>(segments_[i].data()) + (is_second_half_ ? half : 0), part.size());
    };
    copy_elements(part, shared_part(own));
    transport_->host_barrier();
    for (std::size_t i = 0; i < count; ++i) terms[i] = slice_of(shared_part(i), own, count).data();
    const std::span<float> slice = slice_of(shared_part(own), own, count);
    add_in_order(terms, slice);
    if (peers_.size() > 1) sum_over(peers_, slice);
    transport_->host_barrier();
    for (std::size_t i = 0; i < count; ++i) copy_elements(slice_of(shared_part(i), i, count), slice_of(part, i, count));
  }
}

void Communicator::abort(int status) {
  if (transport_) transport_->abort(status);
  std::_Exit(status);
}

bool Communicator::watch(double timeout, int status,
                         const std::function<void(const std::vector<std::string>& names)>& on_lost) {
  if (!std::isfinite(timeout) || timeout < 0) {
    throw Error(fmt::format("a timeout of {} seconds found; a number, 0 or more, is allowed", timeout));
  }
  if (is_watched_) throw Error("the ranks are watched already; it can be asked for once");
  if (is_alone() || timeout == 0) return false;
  is_watched_ = true;
  std::vector<std::string> names;  // a copy: the transport lives longer than this object's members
  for (int r = 0; r < size(); ++r) names.push_back(name(r));
  return transport_->watch(timeout, status, [=](const std::vector<int>& lost) {
    std::vector<std::string> of_lost;
    for (const int r : lost) of_lost.push_back(names[static_cast<std::size_t>(r)]);
    on_lost(of_lost);
  });
}

void Communicator::library_sum(std::span<float> values, bool nonblocking) {
  if (is_alone()) return;
  begin_exchange();
  if (values.size() > std::numeric_limits<std::int32_t>::max()) {
    throw Error(fmt::format("{} values found; MPI's own sum takes at most 2^31 - 1", values.size()));
  }
  transport_->library_sum(values, nonblocking);
}

}  // namespace facet::comm
