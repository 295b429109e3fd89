#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "facet/training.h"
#include "inference/small_model.h"
#include "program/parameter_store.h"

namespace small {

/// Five batches of 8 and a last one of 5.
inline constexpr int train_images = 45;
inline constexpr int batches = 6;

inline facet::TrainOptions options(const std::filesystem::path& out = {}) {
  facet::TrainOptions result;
  result.epochs = 3;
  result.batch = 8;
  result.learning_rate = 1e-3;
  result.precision = facet::PrecisionChoice::f32;
  result.threads = 2;
  result.seed = 5;
  result.tune = false;
  result.out = out;
  return result;
}

inline const facet::MemoryDataset& train_set() {
  static const facet::MemoryDataset set = images(train_images, 1);
  return set;
}

inline const facet::MemoryDataset& validation_set() {
  static const facet::MemoryDataset set = images(21, 2);
  return set;
}

/// A trainer of the small model on the small sets.
struct Run {
  explicit Run(const facet::TrainOptions& train_options)
      : trainer(model(), info(), train_set(), &validation_set(), train_options) {}
  facet::Trainer trainer;
};

/// Functions that a run calls; those that a test doesn't need stay empty.
struct Functions {
  std::function<void(const facet::StepResult&)> step{};
  std::function<void(const facet::EpochResult&)> epoch{};
  std::function<void(const facet::StepProfile&)> profile{};
  std::function<void(const std::string&)> note{};
  std::function<bool()> stop{};
  std::function<void(bool)> saving{};
};

/// A sink that passes on what it is told.
class FunctionSink final : public facet::TrainSink {
 public:
  explicit FunctionSink(const Functions& functions) : functions_(functions) {}
  void on_step(const facet::StepResult& result) override {
    if (functions_.step) functions_.step(result);
  }
  void on_epoch(const facet::EpochResult& result) override {
    if (functions_.epoch) functions_.epoch(result);
  }
  void on_profile(const facet::StepProfile& profile) override {
    if (functions_.profile) functions_.profile(profile);
  }
  void on_note(const std::string& text) override {
    if (functions_.note) functions_.note(text);
  }
  void on_saving(bool begins) override {
    if (functions_.saving) functions_.saving(begins);
  }

 private:
  const Functions& functions_;
};

/// Runs a trainer and returns what Trainer::run returns.
inline bool train(facet::Trainer& trainer, const Functions& functions) {
  FunctionSink sink(functions);
  return trainer.run({&sink}, functions.stop);
}

/// All that a run has learnt: parameters and the optimiser's state, by name.
using Learnt = std::map<std::string, std::vector<float>>;

/// @param read returns a slot of a parameter, both by index.
inline Learnt learnt(const facet::Parameters& parameters, const auto& read) {
  Learnt values;
  for (int index = 0; index < static_cast<int>(parameters.list().size()); ++index) {
    const facet::Parameter& parameter = parameters.list()[static_cast<std::size_t>(index)];
    values[parameter.name] = parameters.get(index);
    if (!parameter.is_trained()) continue;
    for (int slot = 0; slot < static_cast<int>(parameters.state().slot_names.size()); ++slot) {
      values[parameter.name + "." + parameters.state().slot_names[static_cast<std::size_t>(slot)]] = read(index, slot);
    }
  }
  return values;
}

/// Of parameters of one process.
inline Learnt learnt(const facet::Parameters& parameters) {
  return learnt(parameters, [&](int index, int slot) { return parameters.state().get_slot(index, slot); });
}

/// Of a trainer of one process. Includes the averaged parameters, where it keeps an average.
inline Learnt learnt(facet::Trainer& trainer) {
  Learnt values = learnt(trainer.parameters());
  for (const auto& [name, value] : learnt(trainer.evaluated_parameters())) values["evaluated." + name] = value;
  return values;
}

/// Results of epochs, without the measured times.
struct History {
  std::vector<double> numbers;

  void add(const facet::EpochResult& result) {
    numbers.insert(numbers.end(), {static_cast<double>(result.epoch), result.train_loss, result.validation_loss,
                                   result.learning_rate, result.best ? 1.0 : 0.0});
    numbers.insert(numbers.end(), result.train_accuracy.begin(), result.train_accuracy.end());
    for (const facet::HeadResult& head : result.validation) {
      numbers.insert(numbers.end(), {head.accuracy, head.loss, static_cast<double>(head.labelled)});
    }
  }
};

}  // namespace small
