#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/memory.h"
#include "facet/parameters.h"
#include "onednn/onednn.h"

namespace facet {

/// A parameter's values as the programs see them: the f32 master and the optimiser's slots in one layout.
struct StoredParameter {
  onednn::Layout layout;    ///< of the master and of the slots; plain until the first training program
  base::PageBuffer master;  ///< f32, layout.get_size() bytes (s64: 8 bytes)
  std::vector<base::PageBuffer> slots;
  base::PageBuffer gradient;  ///< the sum over a step's batches so far; allocated by programs that accumulate
  base::PageBuffer rounded;   ///< the master in bf16, in the same order; allocated by training programs that read it

  std::size_t bytes() const {
    std::size_t all = master.size() + gradient.size() + rounded.size();
    for (const base::PageBuffer& slot : slots) all += slot.size();
    return all;
  }
};

struct Parameters::State {
  std::vector<Parameter> list;
  std::vector<StoredParameter> stored;
  std::vector<std::string> slot_names;  ///< empty until require_slots()
  std::uint64_t version = 1;            ///< grows whenever values change
  std::uint64_t set_version = 1;        ///< grows whenever values are set; frozen values change in no other way
  std::uint64_t layout_version = 1;     ///< grows whenever a layout changes; the values then move in memory
  std::uint64_t rounded_version = 0;    ///< the version of the values in `rounded`; updates write both
  bool layout_fixed = false;            ///< set by the first training program

  /// @throws Error when the index is out of range.
  const Parameter& at(int index) const;
  /// Rounds the masters to their bf16 copies again if the values have changed since.
  void round_masters();
  /// Makes an optimiser's slots, filled with zeros, unless there are slots of these names already.
  void require_slots(const std::vector<std::string>& names);
  /// Reorders a parameter's master and slots to another layout.
  void set_layout(int index, const onednn::Layout& layout);
  /// The first parameter with a non-finite element; -1 if there is none.
  int find_not_finite() const;
  /// The values of a slot in PyTorch's order.
  std::vector<float> get_slot(int index, int slot) const;
  void set_slot(int index, int slot, const std::vector<float>& values);
};

}  // namespace facet
