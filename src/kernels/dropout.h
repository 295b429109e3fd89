#pragma once

#include <cstdint>

/// Dropout and alpha dropout.
namespace facet::kernels {

/// Identifies the random stream of one dropout op in one step.
struct DropoutKey {
  std::uint64_t seed;
  std::uint64_t step;
  std::uint32_t op;  ///< identifies the dropout op within its graph
};

/// y = keep ? scale * x + kept_shift : dropped, where keep is drawn with probability 1 - rate and depends only on (key,
/// first + i); i is the element's index in the batch in logical (NCHW) order. For plain dropout scale is 1 / (1 - rate)
/// and the other two are 0; for alpha dropout see alpha_dropout_rule. Works in place if to == from.
struct DropoutRule {
  float rate, scale, kept_shift, dropped;
};
/// @throws Error if the rate isn't in [0, 1).
DropoutRule dropout_rule(float rate);
/// Alpha dropout (Klambauer et al. 2017, section "New dropout technique"): a * (x * d + alpha' * (1 - d)) + b, alpha' =
/// -1.7580993408473766, a = (q + alpha'^2 * q * (1 - q))^-1/2, b = -a * (1 - q) * alpha', q = 1 - rate.
/// @throws Error if the rate isn't in [0, 1).
DropoutRule alpha_dropout_rule(float rate);

void dropout_forward(const float* from, float* to, std::int64_t count, const DropoutRule& rule, const DropoutKey& key,
                     std::uint64_t first);
void dropout_forward(const std::uint16_t* from, std::uint16_t* to, std::int64_t count, const DropoutRule& rule,
                     const DropoutKey& key, std::uint64_t first);
/// gradient_from[i] = keep ? scale * gradient_to[i] : 0, with the random draws of the forward pass.
void dropout_backward(const float* gradient_to, float* gradient_from, std::int64_t count, const DropoutRule& rule,
                      const DropoutKey& key, std::uint64_t first);
void dropout_backward(const std::uint16_t* gradient_to, std::uint16_t* gradient_from, std::int64_t count,
                      const DropoutRule& rule, const DropoutKey& key, std::uint64_t first);

}  // namespace facet::kernels
