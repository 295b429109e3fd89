#include "optim/optimizer.h"

namespace facet::optim {

namespace {

class Sgd final : public Optimizer {
 public:
  explicit Sgd(const SgdOptions& options) : o_(options) {}

  std::vector<std::string> slot_names() const override {
    if (o_.momentum == 0) return {};
    return {"momentum_buffer"};
  }

  bool update(const UpdateOperands& p, const UpdateFactors& factors) const override {
    return kernels::sgd(p.target, p.slots.empty() ? nullptr : p.slots[0],
                        {.learning_rate = factors.learning_rate,
                         .momentum = factors.momentum.value_or(o_.momentum),
                         .nesterov = o_.nesterov,
                         .weight_decay = o_.weight_decay.of(p)});
  }

 private:
  SgdOptions o_;
};

}  // namespace

std::unique_ptr<Optimizer> sgd(const SgdOptions& options) { return std::make_unique<Sgd>(options); }

}  // namespace facet::optim
