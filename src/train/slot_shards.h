#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "comm/bucket_exchange.h"
#include "comm/communicator.h"
#include "facet/parameters.h"

namespace facet::train {

/// Returns a slot of a trained parameter, both by index, in PyTorch's order.
using ReadSlot = std::function<std::vector<float>(int parameter, int slot)>;
/// Sets a slot of a trained parameter to elements in PyTorch's order.
using WriteSlot = std::function<void(int parameter, int slot, const std::vector<float>& elements)>;

/// The optimiser's slots where processes train together. Each process has the elements of every slot that belong to its
/// parts of the gradients' exchange, and never touches the others. All processes call the same functions.
class SlotShards {
 public:
  /// @param exchange null: this process has all elements. All must outlive this object.
  SlotShards(comm::Communicator& group, const comm::BucketExchange* exchange, Parameters& parameters)
      : group_(group), exchange_(exchange), parameters_(parameters) {}

  /// Calls `save` on rank 0 with a function that reads a slot, to which each process sends its parts. Rank 0 needs the
  /// memory of the largest parameter. Throws on all ranks if `save` throws.
  void save_on_first_rank(const std::function<void(const ReadSlot&)>& save) const;
  /// Calls `load` on rank 0 with a function that gives each process its parts of a slot. Throws on all ranks if `load`
  /// throws; what was written before then stays.
  void load_on_first_rank(const std::function<void(const WriteSlot&)>& load) const;
  /// The number of elements of each slot that this process has.
  std::size_t own_elements() const;

 private:
  struct Slot {
    int parameter = 0, number = 0;
  };

  /// Copies a slot from its owners to `whole` on rank 0, which has all its elements in stored order, or back.
  void transfer(const Slot& slot, std::span<float> whole, bool to_owners) const;

  comm::Communicator& group_;
  const comm::BucketExchange* exchange_;
  Parameters& parameters_;
};

}  // namespace facet::train
