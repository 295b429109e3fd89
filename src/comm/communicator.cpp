#include "comm/communicator.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <new>
#include <utility>

#include "base/cpus.h"
#include "base/parallel.h"
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

/// @return where slice `number` of `count` elements begins, of as many slices as there are ranks.
std::size_t slice_begin(std::size_t count, std::size_t number, std::size_t slices) { return count * number / slices; }

}  // namespace

Communicator::Communicator(std::unique_ptr<Transport> transport) : transport_(std::move(transport)) {
  hosts_ = gather(host_name());
  const std::vector<std::string> masks = gather(text_of(base::usable_cpus()));
  const auto own = static_cast<std::size_t>(rank());
  const std::vector<int> cpus = cpus_of(masks[own]);
  local_size_ = sharing_cores_ = 0;
  for (std::size_t r = 0; r < hosts_.size(); ++r) {
    if (hosts_[r] != hosts_[own]) continue;
    if (r < own) ++local_rank_;
    ++local_size_;
    if (overlap(cpus, cpus_of(masks[r]))) ++sharing_cores_;
  }
}

std::string Communicator::name(int rank) const {
  if (is_alone()) return "rank 0";
  return fmt::format("rank {} ({})", rank, hosts_.at(static_cast<std::size_t>(rank)));
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
    transport_->all_gather(own, all);
  } else {
    std::ranges::copy(own, all.begin());
  }
}

void Communicator::broadcast_bytes(std::span<std::byte> bytes, int root) {
  constexpr std::size_t largest = std::size_t{1} << 28;
  begin_exchange();
  for (std::size_t begin = 0; transport_ && begin < bytes.size(); begin += largest) {
    transport_->broadcast(bytes.subspan(begin, std::min(largest, bytes.size() - begin)), root);
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
  const auto ranks = static_cast<std::size_t>(size()), own = static_cast<std::size_t>(rank());
  // Elements are summed in parts, so that what is received takes little memory: up to 16 MiB for up to 1024 ranks.
  constexpr std::size_t largest = std::size_t{1} << 18, least = std::size_t{1} << 12;
  const std::size_t slice_elements = std::clamp((std::size_t{1} << 22) / ranks, least, largest);
  std::vector<std::span<const std::byte>> sent(ranks);
  std::vector<std::span<std::byte>> received(ranks);
  for (std::size_t begin = 0; begin < values.size(); begin += ranks * slice_elements) {
    const std::span<float> part = values.subspan(begin, std::min(ranks * slice_elements, values.size() - begin));
    const auto slice_of = [&](std::size_t r) {
      const std::size_t first = slice_begin(part.size(), r, ranks);
      return part.subspan(first, slice_begin(part.size(), r + 1, ranks) - first);
    };
    const std::span<float> slice = slice_of(own);
    received_.resize(ranks * slice.size());
    for (std::size_t r = 0; r < ranks; ++r) {
      sent[r] = std::as_bytes(slice_of(r));
      received[r] = std::as_writable_bytes(std::span(received_).subspan(r * slice.size(), slice.size()));
    }
    transport_->exchange(sent, received);
    const auto add = [&](std::int64_t first, std::int64_t last) {
      for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
        const float mine = slice[i];
        float total = own == 0 ? mine : received_[i];
        for (std::size_t r = 1; r < ranks; ++r) total += r == own ? mine : received_[r * slice.size() + i];
        slice[i] = total;
      }
    };
    constexpr std::int64_t grain = 16384;
    base::parallel_for(static_cast<std::int64_t>(slice.size()), grain, std::ref(add));
    for (std::size_t r = 0; r < ranks; ++r) {
      sent[r] = std::as_bytes(slice);
      received[r] = std::as_writable_bytes(slice_of(r));
    }
    transport_->exchange(sent, received);
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
