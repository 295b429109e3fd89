#include "comm/communicator.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <new>
#include <utility>

#include "base/cpus.h"
#include "comm/add.h"
#include "facet/error.h"

namespace facet::comm {
namespace {

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown host";
}

bool overlap(const std::vector<int>& cpus, const std::vector<int>& others) {
  return std::ranges::any_of(cpus, [&](int cpu) { return std::ranges::binary_search(others, cpu); });
}

std::string text_of(const std::vector<int>& cpus) {
  return {reinterpret_cast<const char*>(cpus.data()), cpus.size() * sizeof(int)};
}

std::vector<int> cpus_of(const std::string& text) {
  std::vector<int> cpus(text.size() / sizeof(int));
  std::memcpy(cpus.data(), text.data(), cpus.size() * sizeof(int));
  std::ranges::sort(cpus);
  return cpus;
}

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

constexpr std::size_t largest_message = std::size_t{1} << 28;  // bytes

/// Slice `number` of as many equal ones as there are ranks.
std::span<float> slice_of(std::span<float> values, std::size_t number, std::size_t slices) {
  const std::size_t begin = values.size() * number / slices, end = values.size() * (number + 1) / slices;
  return values.subspan(begin, end - begin);
}

}  // namespace

Communicator::Communicator(std::unique_ptr<Transport> transport) : transport_(std::move(transport)) {
  hosts_ = gather(host_name());
  const std::vector<std::string> masks = gather(text_of(base::usable_cpus()));
  const std::span<const int> local = transport_->host_ranks();
  local_size_ = static_cast<int>(local.size());
  local_rank_ = static_cast<int>(std::ranges::find(local, rank()) - local.begin());
  cpus_ = cpus_of(masks[static_cast<std::size_t>(rank())]);
  sharing_cores_ = static_cast<int>(
      std::ranges::count_if(local, [&](int r) { return overlap(cpus_, cpus_of(masks[static_cast<std::size_t>(r)])); }));
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
  return part ? std::make_shared<Communicator>(std::move(part)) : std::make_shared<Communicator>();
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

void Communicator::library_sum(std::span<float> values, bool nonblocking) {
  if (is_alone()) return;
  begin_exchange();
  if (values.size() > std::numeric_limits<std::int32_t>::max()) {
    throw Error(fmt::format("{} values found; MPI's own sum takes at most 2^31 - 1", values.size()));
  }
  transport_->library_sum(values, nonblocking);
}

}  // namespace facet::comm
