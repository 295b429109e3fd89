#include <algorithm>
#include <limits>
#include <string_view>
#include <utility>

#include "program/memory.h"
#include "program/passes.h"

namespace facet::program {

namespace {

using lowering::Instruction;
using lowering::Tensor;

constexpr int never = std::numeric_limits<int>::max();

/// A position in the order of execution: the instruction, and the buffers that it uses there.
struct Turn {
  int instruction;
  bool again;  ///< a forward instruction that runs again in backward
  std::vector<int> buffers;
};

/// The order of execution of a program's instructions when some forward instructions run again. A recomputable
/// instruction is the first to name a buffer that it writes, and no other instruction writes that buffer. When it runs
/// again, it writes a new buffer instead, whose number is the original's plus the number of all buffers.
class Turns {
 public:
  Turns(const Compiled& compiled, std::size_t forward_instructions)
      : compiled_(compiled),
        forward_(static_cast<int>(forward_instructions)),
        writers_(compiled.buffers.size(), -1),
        readers_(compiled.buffers.size()) {
    for (int i = 0; i < static_cast<int>(compiled.instructions.size()); ++i) {
      for (const Tensor& operand : compiled.instructions[i].operands) {
        if (!in_arena(operand.buffer)) continue;
        int& writer = writers_[operand.buffer];
        if (writer < 0) writer = i;
        if (writer != i) readers_[operand.buffer].push_back(i);
      }
    }
    for (int i = 0; i < forward_; ++i) changes_.push_back(find_change(i));
  }

  /// @param again by forward instruction: whether it runs again.
  std::vector<Turn> take(const std::vector<bool>& again) const {
    const std::vector<int> before = place(again);
    std::vector<std::vector<int>> in_front(compiled_.instructions.size());
    for (int i = 0; i < forward_; ++i) {
      if (before[i] != never) in_front[before[i]].push_back(i);
    }
    std::vector<Turn> turns;
    for (int i = 0; i < static_cast<int>(compiled_.instructions.size()); ++i) {
      for (const int earlier : in_front[i]) turns.push_back({earlier, true, buffers(earlier, before, true)});
      turns.push_back({i, false, buffers(i, before, i >= forward_)});
    }
    return turns;
  }

  std::size_t peak(const std::vector<bool>& again) const {
    const int count = static_cast<int>(compiled_.buffers.size());
    const std::vector<Turn> turns = take(again);
    const int end = static_cast<int>(turns.size());
    std::vector<Lifetime> lifetimes(2 * compiled_.buffers.size());
    for (int i = 0; i < end; ++i) {
      for (const int buffer : turns[i].buffers) {
        const int original = buffer % count;
        if (!in_arena(original)) continue;
        lifetimes[buffer].bytes = compiled_.buffers[original].bytes;
        lifetimes[buffer].include(i);
        if (compiled_.buffers[original].kept && buffer < count) lifetimes[buffer].last = end;
      }
    }
    return peak_bytes(lifetimes);
  }

 private:
  bool in_arena(int buffer) const { return compiled_.buffers[buffer].place == Buffer::Place::arena; }

  /// By forward instruction: the backward instruction in front of which it runs again; `never` if it doesn't.
  std::vector<int> place(const std::vector<bool>& again) const {
    std::vector<int> before(forward_, never);
    for (int i = forward_ - 1; i >= 0; --i) {  // later ones first: they read what earlier ones write
      if (!again[i]) continue;
      for (const Tensor& operand : compiled_.instructions[i].operands) {
        if (!in_arena(operand.buffer) || writers_[operand.buffer] != i) continue;
        for (const int reader : readers_[operand.buffer]) {
          before[i] = std::min(before[i], reader < forward_ ? before[reader] : reader);
        }
      }
      if (before[i] > changes_[i]) before[i] = never;
    }
    return before;
  }

  /// The next instruction that uses memory outside the arena (a parameter, a statistic) which this one uses too: it may
  /// write that memory.
  int find_change(int instruction) const {
    const std::vector<Tensor>& own = compiled_.instructions[instruction].operands;
    const auto is_own = [&](const Tensor& tensor) {
      return !in_arena(tensor.buffer) && std::any_of(own.begin(), own.end(), [&](const Tensor& operand) {
        return address(operand) == address(tensor);
      });
    };
    const auto found = std::find_if(
        compiled_.instructions.begin() + instruction + 1, compiled_.instructions.end(),
        [&](const Instruction& later) { return std::any_of(later.operands.begin(), later.operands.end(), is_own); });
    return static_cast<int>(found - compiled_.instructions.begin());
  }

  const std::byte* address(const Tensor& tensor) const { return compiled_.buffers[tensor.buffer].address; }

  std::vector<int> buffers(int instruction, const std::vector<int>& before, bool backward) const {
    std::vector<int> named;
    for (const Tensor& operand : compiled_.instructions[instruction].operands) {
      const int writer = writers_[operand.buffer];
      const bool anew = backward && writer >= 0 && writer < forward_ && before[writer] != never;
      named.push_back(anew ? operand.buffer + static_cast<int>(compiled_.buffers.size()) : operand.buffer);
    }
    return named;
  }

  const Compiled& compiled_;
  int forward_;
  std::vector<int> writers_;               // by buffer of the arena: an instruction
  std::vector<std::vector<int>> readers_;  // by buffer of the arena: instructions
  std::vector<int> changes_;  // by forward instruction: the instruction that may change a parameter that it reads
};

std::size_t moved_bytes(const Compiled& compiled, int instruction) {
  std::size_t bytes = 0;
  for (const Tensor& operand : compiled.instructions[instruction].operands)
    bytes += compiled.buffers[operand.buffer].bytes;
  return bytes;
}

/// Begins with all recomputable instructions, because one alone often gains nothing: a concat, or a chain of them,
/// keeps its inputs alive instead. Then removes those without which the peak is no higher, the most expensive first.
std::vector<bool> choose(const Compiled& compiled, std::size_t forward_instructions, const Turns& turns) {
  std::vector<bool> again(forward_instructions);
  std::vector<int> candidates;
  for (int i = 0; i < static_cast<int>(forward_instructions); ++i) {
    again[i] = compiled.instructions[i].recomputable;
    if (again[i]) candidates.push_back(i);
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [&](int a, int b) { return moved_bytes(compiled, a) > moved_bytes(compiled, b); });
  std::size_t peak = turns.peak(again);
  for (const int candidate : candidates) {
    again[candidate] = false;
    const std::size_t without = turns.peak(again);
    again[candidate] = without > peak;
    peak = std::min(peak, without);
  }
  const std::vector<bool> none(forward_instructions);
  return turns.peak(none) > peak ? again : none;
}

std::string name_again(std::string_view name) {
  constexpr std::string_view forward = ".forward";
  if (name.ends_with(forward)) name.remove_suffix(forward.size());
  return std::string(name) + ".recompute";
}

}  // namespace

void recompute(Compiled& compiled, std::size_t forward_instructions) {
  const Turns turns(compiled, forward_instructions);
  const auto count = static_cast<int>(compiled.buffers.size());
  std::vector<int> anew(count, -1);  // by buffer: the buffer that replaces it in backward
  std::vector<Instruction> instructions;
  for (const Turn& turn : turns.take(choose(compiled, forward_instructions, turns))) {
    Instruction instruction = compiled.instructions[turn.instruction];
    if (turn.again) instruction.name = name_again(instruction.name);
    for (std::size_t i = 0; i < turn.buffers.size(); ++i) {
      if (turn.buffers[i] < count) continue;
      const int original = turn.buffers[i] - count;
      if (anew[original] < 0) {
        anew[original] = static_cast<int>(compiled.buffers.size());
        Buffer buffer;
        buffer.bytes = compiled.buffers[original].bytes;
        compiled.buffers.push_back(buffer);
      }
      instruction.operands[i].buffer = anew[original];
    }
    instructions.push_back(std::move(instruction));
  }
  compiled.instructions = std::move(instructions);
}

}  // namespace facet::program
