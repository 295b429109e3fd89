#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/memory.h"
#include "lowering/instruction.h"

namespace facet::program {

/// Where a tensor's bytes are.
struct Buffer {
  enum class Place : std::uint8_t {
    arena,  ///< planned: buffers with disjoint lifetimes share memory
    held,   ///< outside the arena; keeps its content from run to run
    fixed   ///< memory of the parameter store
  };
  std::size_t bytes = 0;
  Place place = Place::arena;
  std::byte* address = nullptr;  ///< set for held and fixed buffers
  bool kept = false;             ///< holds its content to the end of the run
  std::string made_of = {};      ///< for content computed from parameters: from which, and how
};

/// The result of compilation: instructions whose operands refer to buffers.
struct Compiled {
  std::vector<lowering::Instruction> prologue;  ///< run again only when a parameter of `prepared_from` has changed
  std::vector<lowering::Instruction> instructions;
  std::vector<Buffer> buffers;
  std::vector<std::shared_ptr<base::PageBuffer>> held;  ///< may be shared with other programs, see PreparedMemory
  std::vector<lowering::Tensor> logits, probabilities;  ///< by head
  std::map<int, lowering::Tensor> gradients;            ///< by parameter, in plain order (StepBuilder::keep)
  std::vector<int> prepared_from;                       ///< parameters that the prologue may read
  std::vector<int> written;                             ///< parameters that a run writes
};

}  // namespace facet::program
