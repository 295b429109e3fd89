#include "kernels/kernels.h"
#include "optim/optimizer.h"

namespace facet::optim {

namespace {

class Adam final : public Optimizer {
 public:
  explicit Adam(const AdamOptions& options) : o_(options) {}

  std::vector<std::string> slot_names() const override { return {"exp_avg", "exp_avg_sq"}; }

  void update(const UpdateOperands& p, const UpdateFactors& factors) const override {
    kernels::adam(p.weight, p.gradient, p.slots[0], p.slots[1], p.weight_bf16, p.count,
                  {factors.learning_rate, o_.beta1, o_.beta2, o_.eps, factors.step});
  }

 private:
  AdamOptions o_;
};

}  // namespace

std::unique_ptr<Optimizer> adam(const AdamOptions& options) { return std::make_unique<Adam>(options); }

}  // namespace facet::optim
