#include "program/recompute.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <utility>

#include "program/memory_plan.h"

namespace facet::program {

namespace {

using lowering::Step;
using lowering::Tensor;

constexpr int never = std::numeric_limits<int>::max();

/// A step in its turn, and the buffers that it names then.
struct Turn {
  int step;
  bool again;  ///< in backward, of a step of forward
  std::vector<int> buffers;
};

/// Which turns the steps of a program take when some of forward's run again. A buffer's first namer writes it, and
/// nobody after: what it writes when it runs again is called by the buffer's number plus the count of all.
class Turns {
 public:
  Turns(const Compiled& compiled, std::size_t forward_steps)
      : compiled_(compiled),
        forward_(static_cast<int>(forward_steps)),
        writers_(compiled.buffers.size(), -1),
        readers_(compiled.buffers.size()) {
    for (int i = 0; i < static_cast<int>(compiled.steps.size()); ++i) {
      for (const Tensor& operand : compiled.steps[i].operands) {
        if (!in_arena(operand.buffer)) continue;
        int& writer = writers_[operand.buffer];
        if (writer < 0) writer = i;
        if (writer != i) readers_[operand.buffer].push_back(i);
      }
    }
    for (int i = 0; i < forward_; ++i) changes_.push_back(find_change(i));
  }

  /// @param again by step of forward.
  std::vector<Turn> take(const std::vector<bool>& again) const {
    const std::vector<int> before = place(again);
    std::vector<std::vector<int>> in_front(compiled_.steps.size());
    for (int i = 0; i < forward_; ++i) {
      if (before[i] != never) in_front[before[i]].push_back(i);
    }
    std::vector<Turn> turns;
    for (int i = 0; i < static_cast<int>(compiled_.steps.size()); ++i) {
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

  /// By step of forward: the backward step in front of which it runs again.
  std::vector<int> place(const std::vector<bool>& again) const {
    std::vector<int> before(forward_, never);
    for (int i = forward_ - 1; i >= 0; --i) {  // later ones first: they read what earlier ones write
      if (!again[i]) continue;
      for (const Tensor& operand : compiled_.steps[i].operands) {
        if (!in_arena(operand.buffer) || writers_[operand.buffer] != i) continue;
        for (const int reader : readers_[operand.buffer]) {
          before[i] = std::min(before[i], reader < forward_ ? before[reader] : reader);
        }
      }
      if (before[i] > changes_[i]) before[i] = never;
    }
    return before;
  }

  /// The next step that names something besides the arena (a parameter, a statistic) that this one names: it may write
  /// it.
  int find_change(int step) const {
    const std::vector<Tensor>& own = compiled_.steps[step].operands;
    const auto is_own = [&](const Tensor& tensor) {
      return !in_arena(tensor.buffer) && std::any_of(own.begin(), own.end(), [&](const Tensor& operand) {
        return address(operand) == address(tensor);
      });
    };
    const auto found = std::find_if(compiled_.steps.begin() + step + 1, compiled_.steps.end(), [&](const Step& later) {
      return std::any_of(later.operands.begin(), later.operands.end(), is_own);
    });
    return static_cast<int>(found - compiled_.steps.begin());
  }

  const std::byte* address(const Tensor& tensor) const { return compiled_.buffers[tensor.buffer].address; }

  std::vector<int> buffers(int step, const std::vector<int>& before, bool backward) const {
    std::vector<int> named;
    for (const Tensor& operand : compiled_.steps[step].operands) {
      const int writer = writers_[operand.buffer];
      const bool anew = backward && writer >= 0 && writer < forward_ && before[writer] != never;
      named.push_back(anew ? operand.buffer + static_cast<int>(compiled_.buffers.size()) : operand.buffer);
    }
    return named;
  }

  const Compiled& compiled_;
  int forward_;
  std::vector<int> writers_;               // by buffer of the arena: a step
  std::vector<std::vector<int>> readers_;  // by buffer of the arena: steps
  std::vector<int> changes_;               // by step of forward: the step that may change a parameter that it reads
};

std::size_t moved_bytes(const Compiled& compiled, int step) {
  std::size_t bytes = 0;
  for (const Tensor& operand : compiled.steps[step].operands) bytes += compiled.buffers[operand.buffer].bytes;
  return bytes;
}

/// Begins with all that may run again, for one alone often gains nothing: a concat, or a chain of them, keeps its
/// inputs alive instead. Then leaves out, the dearest first, those without which the peak is no higher.
std::vector<bool> choose(const Compiled& compiled, std::size_t forward_steps, const Turns& turns) {
  std::vector<bool> again(forward_steps);
  std::vector<int> candidates;
  for (int i = 0; i < static_cast<int>(forward_steps); ++i) {
    again[i] = compiled.steps[i].recomputable;
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
  const std::vector<bool> none(forward_steps);
  return turns.peak(none) > peak ? again : none;
}

std::string name_again(std::string_view name) {
  constexpr std::string_view forward = ".forward";
  if (name.ends_with(forward)) name.remove_suffix(forward.size());
  return std::string(name) + ".recompute";
}

}  // namespace

void recompute(Compiled& compiled, std::size_t forward_steps) {
  const Turns turns(compiled, forward_steps);
  const auto count = static_cast<int>(compiled.buffers.size());
  std::vector<int> anew(count, -1);  // by buffer: what it is called in backward
  std::vector<Step> steps;
  for (const Turn& turn : turns.take(choose(compiled, forward_steps, turns))) {
    Step step = compiled.steps[turn.step];
    if (turn.again) step.name = name_again(step.name);
    for (std::size_t i = 0; i < turn.buffers.size(); ++i) {
      if (turn.buffers[i] < count) continue;
      const int original = turn.buffers[i] - count;
      if (anew[original] < 0) {
        anew[original] = static_cast<int>(compiled.buffers.size());
        Buffer buffer;
        buffer.bytes = compiled.buffers[original].bytes;
        compiled.buffers.push_back(buffer);
      }
      step.operands[i].buffer = anew[original];
    }
    steps.push_back(std::move(step));
  }
  compiled.steps = std::move(steps);
}

}  // namespace facet::program
