#include <algorithm>
#include <cstring>
#include <functional>

#include "base/parallel.h"
#include "kernels/pixels.h"

namespace facet::kernels {

void copy_rows(std::int64_t rows, std::int64_t bytes, const std::byte* from, std::int64_t from_stride, std::byte* to,
               std::int64_t to_stride) {
  constexpr std::int64_t bytes_per_piece = 65536;
  const auto body = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      std::memcpy(to + row * to_stride, from + row * from_stride, static_cast<std::size_t>(bytes));
    }
  };
  base::parallel_for(rows, std::max<std::int64_t>(1, bytes_per_piece / bytes), std::ref(body));
}

}  // namespace facet::kernels
