#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <span>
#include <unordered_map>

#include "base/memory.h"
#include "base/parallel.h"
#include "onednn/onednn.h"

namespace facet::onednn {

namespace {

// Fills with small nonzero numbers, since denormals or zeros could change a candidate's speed.
void fill(const base::PageBuffer& buffer, Type type) {
  const auto count = static_cast<std::int64_t>(buffer.size() / 2);
  auto* words = reinterpret_cast<std::uint16_t*>(buffer.data());
  base::parallel_for(count, 4096, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const bool high_half = type == Type::bf16 || i % 2 == 1;
      words[i] = high_half ? static_cast<std::uint16_t>(0x3d00 + (i * 7919) % 256) : 0;
    }
  });
}

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

double measure(const std::vector<Layout>& operands, const std::function<void(std::span<void* const>)>& work,
               double best) {
  std::vector<base::PageBuffer> buffers;
  std::vector<void*> addresses;
  for (const Layout& layout : operands) {
    buffers.emplace_back(layout.get_size());
    fill(buffers.back(), type_of(layout));
    addresses.push_back(buffers.back().data());
  }
  // The first run includes page faults and cold caches; it only serves to drop candidates that are far behind.
  const double first = seconds_of([&] { work(addresses); });
  if (first > 4 * best || first > 1) return first;  // page faults are a small part of more than a second
  double fastest = std::numeric_limits<double>::infinity();
  double total = 0;
  for (int run = 0; run < 20 && (run < 2 || total < 0.1); ++run) {
    const double seconds = seconds_of([&] { work(addresses); });
    fastest = std::min(fastest, seconds);
    total += seconds;
    if (fastest > 2 * best) break;
  }
  return fastest;
}

double measure(const dnnl::primitive& primitive, const std::vector<Argument>& arguments, double best) {
  std::vector<Layout> operands;
  std::vector<int> numbers;
  for (const auto& [number, layout] : arguments) {
    if (layout.get_size() == 0) continue;
    operands.push_back(layout);
    numbers.push_back(number);
  }
  dnnl::stream stream(engine());
  std::unordered_map<int, dnnl::memory> memories;
  const auto work = [&](std::span<void* const> addresses) {
    for (std::size_t i = 0; memories.size() < operands.size(); ++i) {
      memories.emplace(numbers[i], dnnl::memory(operands[i], engine(), addresses[i]));
    }
    primitive.execute(stream, memories);
    stream.wait();
  };
  return measure(operands, work, best);
}

}  // namespace facet::onednn
