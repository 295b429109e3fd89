#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/memory.h"
#include "lowering/step.h"

namespace facet::program {

/// Where a tensor's bytes are.
struct Buffer {
  enum class Place : std::uint8_t {
    arena,  ///< planned: shared with others that live at other times
    held,   ///< the program's own, from run to run
    fixed   ///< a parameter's
  };
  std::size_t bytes = 0;
  Place place = Place::arena;
  std::byte* address = nullptr;  ///< of held and fixed ones
  bool kept = false;             ///< to the end of the run
  std::string made_of = {};      ///< of what is made of parameters: says from which, and how
};

/// A parameter in an order that a step asked for: a reorder, or the master itself, when its layout is known at last.
struct PreparedParameter {
  int parameter;
  lowering::Tensor tensor;
  std::size_t
      step;  ///< where in the steps or the prologue its reorders went (room for two), before empty ones were taken out
  bool once = false;  ///< in the prologue
};

/// What compiling gives: steps whose operands name buffers.
struct Compiled {
  std::vector<lowering::Step> prologue;  ///< run again only when the parameters have changed
  std::vector<lowering::Step> steps;
  std::vector<Buffer> buffers;
  std::vector<std::shared_ptr<base::PageBuffer>> held;  ///< other programs may share it, see PreparedMemory
  std::vector<lowering::Tensor> logits, probabilities;  ///< by head
  std::map<int, lowering::Tensor> gradients;            ///< by parameter, in plain order (Mode::gradients)
  std::vector<PreparedParameter> prepared;
};

}  // namespace facet::program
