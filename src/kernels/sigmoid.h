#pragma once

#include <cmath>

namespace facet::kernels {

/// 1 / (1 + exp(-x)), without overflow.
inline double sigmoid(double x) {
  if (x >= 0) return 1 / (1 + std::exp(-x));
  const double e = std::exp(x);
  return e / (1 + e);
}

}  // namespace facet::kernels
