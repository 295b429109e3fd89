#include <algorithm>
#include <chrono>
#include <limits>
#include <unordered_map>

#include "base/memory.h"
#include "base/parallel.h"
#include "onednn/onednn.h"

namespace facet::onednn {

namespace {

// Small numbers other than zero: neither denormals nor sparse data flatter a candidate.
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

double seconds_of(const dnnl::primitive& primitive, dnnl::stream& stream,
                  const std::unordered_map<int, dnnl::memory>& arguments) {
  const auto start = std::chrono::steady_clock::now();
  primitive.execute(stream, arguments);
  stream.wait();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

double measure(const dnnl::primitive& primitive, const std::vector<Argument>& arguments, double best) {
  std::vector<base::PageBuffer> buffers;
  std::unordered_map<int, dnnl::memory> memories;
  for (const auto& [argument, layout] : arguments) {
    if (layout.get_size() == 0) continue;
    buffers.emplace_back(layout.get_size());
    const bool values = argument != DNNL_ARG_SCRATCHPAD && argument != DNNL_ARG_WORKSPACE && !is_opaque(layout);
    if (values) fill(buffers.back(), type_of(layout));
    memories.emplace(argument, dnnl::memory(layout, engine(), buffers.back().data()));
  }
  dnnl::stream stream(engine());
  // The first run pays for page faults and cold caches; it is only good to drop what is far behind.
  const double first = seconds_of(primitive, stream, memories);
  if (first > 4 * best) return first;
  double fastest = std::numeric_limits<double>::infinity();
  double total = 0;
  for (int run = 0; run < 20 && (run < 2 || total < 0.1); ++run) {
    const double seconds = seconds_of(primitive, stream, memories);
    fastest = std::min(fastest, seconds);
    total += seconds;
    if (fastest > 2 * best) break;
  }
  return fastest;
}

}  // namespace facet::onednn
