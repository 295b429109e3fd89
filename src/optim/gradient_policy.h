#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "comm/bucket_exchange.h"
#include "comm/communicator.h"
#include "facet/graph.h"
#include "lowering/instruction.h"

namespace facet::optim {

/// Where the store's ranges hold a parameter.
struct StoredPart {
  int parameter;
  comm::Part elements;
  std::optional<std::size_t> bf16_begin;  ///< of its copy's first element in the range of copies; empty: no copy
};

/// The training program that is being compiled, as a gradient policy sees it.
class StepBuilder {
 public:
  virtual ~StepBuilder() = default;

  virtual const Parameter& parameter(int index) const = 0;
  /// A gradient in the order in which the parameter is stored; emits a reorder where it differs.
  virtual lowering::Tensor in_stored_order(int parameter, const lowering::Tensor& gradient) = 0;
  /// The parameter's part of the store's range of gradients, which keeps its content from run to run. Only for a policy
  /// that stores_gradients().
  virtual lowering::Tensor stored_gradient(int parameter) = 0;
  /// Lets the instruction that computes a gradient write it to stored_gradient() itself. Returns whether that is
  /// possible; if not, nothing has changed.
  virtual bool compute_in_store(int parameter, const lowering::Tensor& gradient) = 0;
  /// The trained parameters in the order in which the store's ranges hold them. Where the parameters are placed by the
  /// graph's own layout plan, that is the order of gradient_ready().
  virtual std::vector<StoredPart> stored_parts() const = 0;
  /// The store's range of gradients (of a policy that stores_gradients()), and that of values: where all trained
  /// parameters lie, and what lies between them. Where processes train together, their training programs read a
  /// parameter that has a copy in the range of bf16 copies there alone.
  virtual const base::PageBuffer& gradient_range() const = 0;
  virtual const base::PageBuffer& value_range() const = 0;
  virtual const base::PageBuffer& bf16_range() const = 0;
  /// The contiguous part of that range from one parameter to another, both included, as a vector of f32: a bucket. Gaps
  /// between parameters, and parameters in between that have no gradient here, are zero.
  virtual lowering::Tensor stored_gradients(int first, int last) = 0;
  /// Copies a gradient, in PyTorch's order, to where Program::gradient() finds it.
  virtual void keep(int parameter, const lowering::Tensor& gradient) = 0;
  /// Makes the instruction that updates a parameter from its gradient, which is in stored order; its operands are all
  /// memory that it reads and writes. It does nothing in a batch that doesn't end its step.
  virtual lowering::Instruction update(int parameter, const lowering::Tensor& gradient) = 0;
  /// The same of elements [begin, begin + count) alone, for a rule that needs no sums, or with the sums over the whole
  /// parameter that `sums` has when the instruction runs.
  virtual lowering::Instruction update(int parameter, const lowering::Tensor& gradient, const comm::Part& elements,
                                       std::span<const double> sums) = 0;
  /// The number of sums over each parameter that the update needs; 0: none.
  virtual std::size_t sum_count() const = 0;
  /// Makes the instruction that adds those of some elements to `sums`, which must live as long as the program. In a
  /// batch that ends its step, it must run for all of them before any is updated.
  virtual lowering::Instruction sum_for_update(int parameter, const lowering::Tensor& gradient,
                                               const comm::Part& elements, std::span<double> sums) = 0;
  /// Notes that an instruction other than update() writes a parameter.
  virtual void writes(int parameter) = 0;
  /// Appends an instruction. One that starts an operation and one that waits for it name the same operands, so that
  /// their memory is not used otherwise in between. That holds within a run: an operation that outlives the run uses
  /// stored gradients and parameters only.
  virtual void append(lowering::Instruction instruction) = 0;
  /// Appends a kernel.
  void append(std::string name, std::string_view implementation, std::vector<lowering::Tensor> operands,
              lowering::Kernel kernel);
  /// Keeps a gradient's memory until backward_done(), which finds it in deferred().
  virtual void defer(int parameter, const lowering::Tensor& gradient) = 0;
  /// Parameters and gradients in the order of defer().
  virtual const std::vector<std::pair<int, lowering::Tensor>>& deferred() const = 0;
};

/// What happens to the gradients of a training step: update the parameters at once, or accumulate, clip or exchange the
/// gradients first. A policy adds instructions while a program is compiled. Several programs of one run (those of the
/// full and of the last, smaller batch) share one policy.
class GradientPolicy {
 public:
  virtual ~GradientPolicy() = default;

  /// Whether gradients outlive the run that computes them, so that the store has a range for them.
  virtual bool stores_gradients() const { return false; }
  /// Whether several batches may form a step.
  virtual bool accumulates() const { return false; }

  /// Called before a program is compiled.
  virtual void begin(StepBuilder&) {}
  /// Called before the instruction that is the first of a run to read a trained parameter: the place to wait for an
  /// operation that the previous step has started.
  virtual void before_read(StepBuilder&, int /*parameter*/) {}
  /// Called once for each gradient, as soon as the instructions that compute it, and all that read the parameter, have
  /// been appended.
  virtual void gradient_ready(StepBuilder& step, int parameter, const lowering::Tensor& gradient) = 0;
  /// Called after the last gradient.
  virtual void backward_done(StepBuilder&) {}

  /// Waits for all operations that were started and not yet waited for, also where one has failed. Called before the
  /// parameters are read or written by anything but the step's programs. Parameters with a bf16 copy then have new f32
  /// values in the process's own parts alone, see exchange().
  /// @throws Error of the first operation that has failed.
  virtual void wait() {}

  /// Forgets what a run has started that all processes have ended by an error.
  virtual void abandon() {}

  /// How the processes exchange gradients and weights, each of which then has the optimiser's state of its own parts
  /// alone, and the newest f32 values of parameters with bf16 copies (program::gather_updates() gives them to all);
  /// null in one process, and before the first program is compiled.
  virtual comm::BucketExchange* exchange() { return nullptr; }
};

struct UpdateOptions {
  bool accumulate = false;  ///< several batches may form a step, with the mean of their gradients
  /// The largest norm of all gradients as one vector; larger ones are scaled down to it, as by PyTorch's
  /// clip_grad_norm_. 0: no limit.
  double clip_norm = 0;
  bool reduces_bf16 = false;  ///< gradients are sent in messages rounded to bf16
};
/// Updates each parameter as soon as its gradient is there, so that no gradient needs memory of its own; with options
/// that depend on other gradients, after the step's last one.
std::shared_ptr<GradientPolicy> update_policy(const UpdateOptions& options = {});

/// The same in several processes, each of which has the gradients of its own images. While backward goes on, gradients
/// are summed over all processes, bucket by bucket; each process clips and uses the sums of its own parts, of which
/// alone it has the optimiser's state (ZeRO-1), and the new values reach the others behind the next step's forward: of
/// parameters that have bf16 copies, these alone. After a step the store's range of gradients holds the sums of the
/// process's own parts. Where the run of one process has failed before, the step ends with an error on all, and no
/// weight has changed. A process that is alone does what update_policy() does. The policy serves the programs of one
/// set of parameters.
/// @param communicator must outlive the policy and the programs.
std::shared_ptr<GradientPolicy> reduce_policy(comm::Communicator& communicator, const UpdateOptions& options = {});

/// Updates nothing; Program::gradient() returns the gradients.
std::shared_ptr<GradientPolicy> keep_gradients();

}  // namespace facet::optim
