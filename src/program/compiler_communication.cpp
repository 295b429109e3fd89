#include <fmt/format.h>

#include <cmath>
#include <span>

#include "comm/communicator.h"
#include "program/compiler.h"

/// What a training program exchanges with those of other processes after forward.
namespace facet::program {

using lowering::Instruction;
using lowering::RunState;
using lowering::Tensor;

comm::Communicator* communicator_of(const ProgramOptions& options) {
  const bool exchanges =
      options.mode == Mode::training && options.communicator != nullptr && !options.communicator->is_alone();
  return exchanges ? options.communicator : nullptr;
}

comm::Communicator* Compiler::synchronized() const {
  return options_.sync_batch_norm ? communicator_of(options_) : nullptr;
}

void Compiler::emit_exchange_after_forward() {
  comm::Communicator* const communicator = communicator_of(options_);
  if (communicator == nullptr) return;
  emit_loss_sums(*communicator);
  // With synchronised statistics each instruction that writes running ones is collective itself.
  if (!options_.sync_batch_norm) emit_average_over_ranks(*communicator);
}

void Compiler::append_collective(std::string name, std::string_view implementation, std::vector<Tensor> operands,
                                 lowering::Kernel kernel) {
  Instruction instruction;
  instruction.name = std::move(name);
  instruction.kind = lowering::InstructionKind::communication;
  instruction.implementation = fmt::format("facet:{}", implementation);
  instruction.operands = std::move(operands);
  instruction.kernel = std::move(kernel);
  append(std::move(instruction));
  mark_collective();
}

void Compiler::emit_loss_sums(comm::Communicator& communicator) {
  constexpr std::size_t fields = 4;
  append_collective(
      "losses.sum", "sum_over_ranks", {},
      [&communicator, packed = std::vector<double>(fields * graph_.heads().size())](std::span<void* const>,
                                                                                    RunState& state) mutable {
        communicator.agree(state.failure);
        for (std::size_t head = 0; head < state.losses.size(); ++head) {
          const kernels::LossSums& sums = state.losses[head];
          double* const at = packed.data() + fields * head;
          at[0] = sums.loss;
          at[1] = static_cast<double>(sums.labelled);
          at[2] = static_cast<double>(sums.correct);
          at[3] = sums.weight;
        }
        communicator.sum(std::span<double>(packed));
        for (std::size_t head = 0; head < state.losses.size(); ++head) {
          const double* const at = packed.data() + fields * head;
          state.losses[head] = {
              .loss = at[0], .labelled = std::llround(at[1]), .correct = std::llround(at[2]), .weight = at[3]};
        }
      });
}

void Compiler::emit_average_over_ranks(comm::Communicator& communicator) {
  std::vector<Tensor> operands, counters;
  std::vector<std::size_t> counts;
  std::size_t total = 0;
  for (const auto& [parameter, tensor] : statistics_) {
    if (list_[static_cast<std::size_t>(parameter)].type == DataType::s64) {
      counters.push_back(tensor);
      continue;
    }
    operands.push_back(tensor);
    counts.push_back(static_cast<std::size_t>(tensor.float_count()));
    total += counts.back();
  }
  if (operands.empty() && counters.empty()) return;
  operands.insert(operands.end(), counters.begin(), counters.end());
  append_collective(
      "statistics.average_over_ranks", "average_over_ranks", std::move(operands),
      [&communicator, counts = std::move(counts), packed = std::vector<float>(total),
       numbers = std::vector<std::int64_t>(counters.size())](std::span<void* const> at, RunState& state) mutable {
        const auto share =
            static_cast<float>(static_cast<double>(state.images) / static_cast<double>(state.all_images));
        std::size_t next = 0;
        for (std::size_t i = 0; i < counts.size(); ++i) {
          const auto* const values = static_cast<const float*>(at[i]);
          for (std::size_t j = 0; j < counts[i]; ++j) {
            packed[next++] = state.images > 0 ? share * values[j] : 0;
          }
        }
        communicator.sum(std::span<float>(packed));
        next = 0;
        for (std::size_t i = 0; i < counts.size(); ++i) {
          std::copy_n(packed.data() + next, counts[i], static_cast<float*>(at[i]));
          next += counts[i];
        }
        // The ops have counted the batch, where there are images. After a failed run, which some ranks
        // may have counted, rank 0's number holds.
        for (std::size_t i = 0; i < numbers.size(); ++i) {
          numbers[i] = *static_cast<std::int64_t*>(at[counts.size() + i]) + (state.images > 0 ? 0 : 1);
        }
        communicator.broadcast(std::span<std::int64_t>(numbers));
        for (std::size_t i = 0; i < numbers.size(); ++i) {
          *static_cast<std::int64_t*>(at[counts.size() + i]) = numbers[i];
        }
      });
}

}  // namespace facet::program
