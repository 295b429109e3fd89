#include "train/slot_shards.h"

#include <algorithm>

#include "program/parameter_store.h"

namespace facet::train {

// On rank 0 memory is allocated before the other ranks are asked, so that they don't wait for it where that fails.

void SlotShards::save_on_first_rank(const std::function<void(const ReadSlot&)>& save) const {
  Parameters::State& store = parameters_.state();
  std::vector<float> whole;
  group_.on_first_rank_asking<Slot>(
      [&](const auto& ask) {
        save([&](int parameter, int slot) {
          if (exchange_ == nullptr) return store.get_slot(parameter, slot);
          whole.resize(store.stored_elements(parameter));
          ask({parameter, slot});
          return store.read(parameter, whole.data());
        });
      },
      [&](const Slot& slot) { transfer(slot, whole, false); });
}

void SlotShards::load_on_first_rank(const std::function<void(const WriteSlot&)>& load) const {
  Parameters::State& store = parameters_.state();
  std::vector<float> whole;
  group_.on_first_rank_asking<Slot>(
      [&](const auto& ask) {
        load([&](int parameter, int slot, const std::vector<float>& elements) {
          if (exchange_ == nullptr) {
            store.set_slot(parameter, slot, elements);
            return;
          }
          whole.assign(store.stored_elements(parameter), 0.0F);
          store.write(parameter, elements, whole.data());
          ask({parameter, slot});
        });
      },
      [&](const Slot& slot) { transfer(slot, whole, true); });
}

std::size_t SlotShards::own_elements() const {
  const Parameters::State& store = parameters_.state();
  if (exchange_ == nullptr) return store.trained_elements;
  std::size_t elements = 0;
  for (const comm::Part& part : exchange_->parts_within({0, store.trained_elements}, group_.rank())) {
    elements += part.count;
  }
  return elements;
}

void SlotShards::transfer(const Slot& slot, std::span<float> whole, bool to_owners) const {
  const Parameters::State& store = parameters_.state();
  const comm::Part range{store.stored[static_cast<std::size_t>(slot.parameter)].offset,
                         store.stored_elements(slot.parameter)};
  float* const own = store.slot(slot.parameter, slot.number);
  const auto elements_of = [&](const comm::Part& part, float* elements) {
    return std::span(elements + (part.begin - range.begin), part.count);
  };
  const bool is_first = group_.rank() == 0;
  for (const comm::Part& part : exchange_->parts_within(range, 0)) {
    if (!is_first) break;
    const std::span<float> held = elements_of(part, own), all = elements_of(part, whole.data());
    to_owners ? std::ranges::copy(all, held.begin()) : std::ranges::copy(held, all.begin());
  }

  const auto ranks = static_cast<std::size_t>(group_.size());
  std::vector<std::vector<comm::Part>> parts(ranks);  // of the other ranks; their n-th ones are sent at once
  std::size_t most = 0;
  for (std::size_t rank = 1; rank < ranks; ++rank) {
    parts[rank] = exchange_->parts_within(range, static_cast<int>(rank));
    most = std::max(most, parts[rank].size());
  }
  for (std::size_t n = 0; n < most; ++n) {
    std::vector<std::span<const std::byte>> sent(ranks);
    std::vector<std::span<std::byte>> received(ranks);
    for (std::size_t rank = 1; rank < ranks; ++rank) {
      if (n >= parts[rank].size() || (!is_first && static_cast<int>(rank) != group_.rank())) continue;
      const std::span<float> part = elements_of(parts[rank][n], is_first ? whole.data() : own);
      const std::size_t other = is_first ? rank : 0;
      if (is_first == to_owners) {
        sent[other] = std::as_bytes(part);
      } else {
        received[other] = std::as_writable_bytes(part);
      }
    }
    group_.exchange(sent, received);
  }
}

}  // namespace facet::train
