#include "optim/optimizer.h"

namespace facet::optim {

namespace {

class Adam final : public Optimizer {
 public:
  Adam(const AdamOptions& options, bool decoupled) : o_(options), decoupled_(decoupled) {}

  std::vector<std::string> slot_names() const override { return {"exp_avg", "exp_avg_sq"}; }

  bool update(const UpdateOperands& p, const UpdateFactors& factors) const override {
    return kernels::adam(p.target, p.slots[0], p.slots[1],
                         {.learning_rate = factors.learning_rate,
                          .beta1 = factors.momentum.value_or(o_.beta1),
                          .beta2 = o_.beta2,
                          .eps = o_.eps,
                          .step = factors.step,
                          .weight_decay = o_.weight_decay.of(p),
                          .decoupled = decoupled_});
  }

 private:
  AdamOptions o_;
  bool decoupled_;
};

}  // namespace

std::unique_ptr<Optimizer> adam(const AdamOptions& options) { return std::make_unique<Adam>(options, false); }
std::unique_ptr<Optimizer> adamw(const AdamOptions& options) { return std::make_unique<Adam>(options, true); }

}  // namespace facet::optim
