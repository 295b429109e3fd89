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
  onednn::Layout layout;    ///< of the master and of the slots; plain until a training program chooses
  base::PageBuffer master;  ///< f32, layout.get_size() bytes (s64: 8 bytes)
  std::vector<base::PageBuffer> slots;
  base::PageBuffer gradient;  ///< of a step's batches so far, in sum; made by programs that accumulate
  base::PageBuffer rounded;   ///< the master in bf16, in its order; made by training programs that read it so

  std::size_t bytes() const {
    std::size_t all = master.size() + gradient.size() + rounded.size();
    for (const base::PageBuffer& slot : slots) all += slot.size();
    return all;
  }
};

struct Parameters::State {
  std::vector<Parameter> list;
  std::vector<StoredParameter> stored;
  std::vector<std::string> slot_names;  ///< empty until an optimiser asks for its slots
  std::uint64_t version = 1;            ///< grows whenever values change
  std::uint64_t set_version = 1;        ///< grows whenever values are set, which what isn't trained alone changes by
  std::uint64_t layout_version = 1;     ///< grows whenever a layout changes, and with it where the values are
  std::uint64_t rounded_version = 0;    ///< of the values that are in `rounded`; updates write both
  bool layout_fixed = false;            ///< set by the first training program

  /// @throws Error when there is none of that index.
  const Parameter& at(int index) const;
  /// Brings what is kept in bf16 up to the values, where it isn't.
  void round_masters();
  /// Makes the slots of an optimiser, zero, where there are none of those names.
  void require_slots(const std::vector<std::string>& names);
  /// Puts master and slots of a parameter into another layout of the same shape.
  void set_layout(int index, const onednn::Layout& layout);
  /// The first parameter with an element that is infinite or no number; -1: none.
  int find_not_finite() const;
  /// A slot in PyTorch's order.
  std::vector<float> get_slot(int index, int slot) const;
  void set_slot(int index, int slot, const std::vector<float>& values);
};

}  // namespace facet
