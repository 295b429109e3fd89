#include "facet/train_options.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "testing.h"
#include "train/run_options.h"
#include "train/small_run.h"

using namespace facet;
using Texts = std::vector<std::string>;

namespace {

/// Converts to whatever a member of a struct is.
struct Anything {
  template <class T>
  operator T() const;
};

/// The number of members of a struct without constructors: the greatest number of values that initialise it.
template <class T, class... Values>
constexpr std::size_t members() {
  if constexpr (requires { T{Values{}..., Anything{}}; }) {
    return members<T, Values..., Anything>();
  } else {
    return sizeof...(Values);
  }
}

/// Texts of a value other than the default.
Texts other_texts(const TrainOption& option) {
  static const std::map<std::string, Texts> by_name{{"betas", {"0.8,0.99"}},
                                                    {"split-head", {"fc=race:0-6,gender:7-8"}},
                                                    {"freeze", {"stem.*", "block.*"}},
                                                    {"class-weights", {"balanced", "side=1,2.5"}},
                                                    {"head-weights", {"colour=0.5,side=2"}},
                                                    {"progressive-resizing", {"0.5,0.4,0.3"}},
                                                    {"random-resized-crop", {"0.3"}},
                                                    {"rand-augment", {"2,9"}},
                                                    {"rotation", {"15"}},
                                                    {"affine", {"10,0.1,0.2,5"}},
                                                    {"color-jitter", {"0.4,0.3,0.2,0.1"}},
                                                    {"grayscale", {"0.2"}},
                                                    {"blur", {"0"}},
                                                    {"random-erasing", {"0.25"}},
                                                    {"mixup", {"0.2"}},
                                                    {"cutmix", {"1"}},
                                                    {"interpolation", {"nearest"}}};
  if (const auto found = by_name.find(option.name); found != by_name.end()) return found->second;
  if (option.value == TrainOption::Value::flag) return {"yes"};
  if (!option.choices.empty()) return {option.choices.back()};
  if (option.default_text.empty()) return {"some/path"};
  for (const char* text : {"0.5", "2"}) {
    TrainOptions options;
    if (error_of([&] { option.set(options, {text}, "it"); }).empty()) return {text};
  }
  return {};
}

/// Whether the texts of the option's values are single numbers.
bool is_number(const TrainOption& option) {
  return option.choices.empty() && !option.default_text.empty() && option.name != "betas";
}

/// The options that each row takes, from its texts.
std::map<std::string, Texts> texts_of(const TrainOptions& options) {
  std::map<std::string, Texts> texts;
  for (const TrainOption& option : train_options()) texts[option.name] = option.texts(options);
  return texts;
}

std::string refusal(const TrainOption& option, const Texts& texts) {
  TrainOptions options;
  const std::string error = error_of([&] { option.set(options, texts, "run.cfg:3: it"); });
  CHECK(texts_of(options) == texts_of({}));
  return error;
}

nlohmann::ordered_json record(const TrainOptions& options) {
  const bool bf16 = options.precision == PrecisionChoice::bf16;
  return train::fixed_options(options, bf16 ? Precision::bf16 : Precision::f32, small::train_set());
}

}  // namespace

TEST_CASE("every member of TrainOptions but four has one row, and names are unique") {
  std::set<std::string> names, found;
  std::size_t count = 0;
  for (const TrainOption& option : train_options()) {
    names.insert(option.name);
    found.insert(option.members.begin(), option.members.end());
    count += option.members.size();
  }
  CHECK(names.size() == train_options().size());
  CHECK(found.size() == count);
  // The members of TrainOptions::schedule and ::augmentation have rows of their own; on_tuning, keep_gradients,
  // processes and sampler have none.
  CHECK(count == members<TrainOptions>() - 6 + members<LearningRateSchedule>() + members<Augmentation>());
}

TEST_CASE("a row's texts give its value back, and no text its default") {
  for (const TrainOption& option : train_options()) {
    CAPTURE(option.name);
    CHECK(!option.group.empty());
    CHECK(!option.help.empty());
    CHECK(option.argument.empty() == (option.value == TrainOption::Value::flag));
    TrainOptions options;
    const Texts before = option.texts(options);
    if (!option.default_text.empty()) option.set(options, {option.default_text}, "it");
    CHECK(option.texts(options) == before);

    option.set(options, other_texts(option), "it");
    const Texts texts = option.texts(options);
    CHECK(texts != before);
    option.check(options);
    TrainOptions again;
    option.set(again, texts, "it");
    CHECK(option.texts(again) == texts);
    std::map<std::string, Texts> others = texts_of(again);
    CHECK(std::exchange(others[option.name], before) == texts);
    CHECK_MESSAGE(others == texts_of({}), "it sets members of other rows");

    option.set(options, {}, "it");
    CHECK(texts_of(options) == texts_of({}));
  }
}

TEST_CASE("a row refuses values out of range and names where they come from") {
  for (const TrainOption& option : train_options()) {
    CAPTURE(option.name);
    if (is_number(option)) {
      for (const char* text : {"-1", "nan", "inf", "x", "", "1x", " 1", "1e400", "99999999999999999999999x"}) {
        CAPTURE(text);
        const std::string error = refusal(option, {text});
        CHECK_MESSAGE(error.starts_with("run.cfg:3: it is '" + std::string(text) + "'; "), error);
      }
    } else if (option.value == TrainOption::Value::flag || !option.choices.empty()) {
      CHECK(contains(refusal(option, {"perhaps"}), "run.cfg:3: it is 'perhaps'; "));
    }
  }
  const std::pair<const char*, const char*> cases[] = {{"epochs", "0"},
                                                       {"batch", "0"},
                                                       {"batch", "65537"},
                                                       {"batch", "1.5"},
                                                       {"lr-scale-batch", "1.5"},
                                                       {"lr", "0"},
                                                       {"eps", "0"},
                                                       {"betas", "0.9"},
                                                       {"betas", "0.9,1"},
                                                       {"betas", "0.9,,1"},
                                                       {"momentum", "1"},
                                                       {"warmup-factor", "0"},
                                                       {"warmup-factor", "1.1"},
                                                       {"gamma", "0"},
                                                       {"pct-start", "1.1"},
                                                       {"max-momentum", "1"},
                                                       {"base-momentum", "1"},
                                                       {"div-factor", "0"},
                                                       {"ema-decay", "1"},
                                                       {"label-smoothing", "1"},
                                                       {"final-div-factor", "0"},
                                                       {"threads", "4097"},
                                                       {"accumulate", "0"},
                                                       {"step-size", "0"},
                                                       {"trust-coefficient", "0"},
                                                       {"head-weights", "a=0"},
                                                       {"head-weights", "a"},
                                                       {"head-weights", "a=1,a=1"},
                                                       {"head-weights", "=1"},
                                                       {"class-weights", "a"},
                                                       {"class-weights", "a=1,-1"},
                                                       {"class-weights", "a=0,0"},
                                                       {"split-head", "fc"},
                                                       {"seed", "18446744073709551616"},
                                                       {"progressive-resizing", "0"},
                                                       {"progressive-resizing", "1.1"},
                                                       {"progressive-resizing", "0.5,0.2"},
                                                       {"progressive-resizing", "0.5,0.6,0.5"},
                                                       {"progressive-resizing", "0.5,x,0.5"},
                                                       {"progressive-resizing", "half"},
                                                       {"random-resized-crop", "1.1"},
                                                       {"random-resized-crop", "none"},
                                                       {"rand-augment", "2"},
                                                       {"rand-augment", "2,31"},
                                                       {"rand-augment", "2.5,9"},
                                                       {"rotation", "181"},
                                                       {"affine", "1,2,3"},
                                                       {"affine", "10,0.1,1,5"},
                                                       {"affine", "10,0.1,0,90"},
                                                       {"color-jitter", "0.1,0.1,0.1"},
                                                       {"color-jitter", "0.1,0.1,0.1,0.6"},
                                                       {"color-jitter", "0.1,,0.1,0"},
                                                       {"grayscale", "-0.1"},
                                                       {"mixup", "nan"}};
  for (const auto& [name, text] : cases) {
    CAPTURE(name);
    CAPTURE(text);
    CHECK(refusal(train_option(name), {text}).starts_with("run.cfg:3: it"));
  }
  CHECK(refusal(train_option("momentum"), {"1.5"}) == "run.cfg:3: it is '1.5'; 0 up to below 1 is allowed");
  CHECK(refusal(train_option("batch"), {"0"}) == "run.cfg:3: it is '0'; a whole number from 1 to 65536 is needed");
  CHECK(refusal(train_option("progressive-resizing"), {"2"}) ==
        "run.cfg:3: it is '2'; its initial scale is 2; above 0 up to 1 is allowed");
  CHECK(contains(refusal(train_option("class-weights"), {"a=1,2", "a=balanced"}), "two sets of class weights for a"));
  CHECK(error_of([] { train_option("epoch"); }) == "there is no option of training called 'epoch'");
}

TEST_CASE("a run's record changes with the options that a resumed run can't change, and with no others") {
  for (const bool one_cycle : {false, true}) {
    TrainOptions options;
    if (one_cycle) options.schedule.kind = LearningRateSchedule::Kind::one_cycle;
    const nlohmann::ordered_json before = record(options);
    for (const TrainOption& option : train_options()) {
      CAPTURE(option.name);
      TrainOptions changed = options;
      option.set(changed, other_texts(option), "it");
      const bool unused = !one_cycle && contains(option.name, "-momentum");  // the schedule one-cycle alone uses these
      const bool same = option.texts(changed) == option.texts(options);
      const bool epochs = one_cycle && option.name == "epochs";
      const bool changes_others = option.name == "augment";  // whose values the record has under their own names
      CHECK((record(changed) != before) == ((option.fixed && !unused && !same) || epochs || changes_others));
    }
  }
}

TEST_CASE("a record has the names and values that the records of earlier versions have") {
  TrainOptions options;
  options.class_weights = {{"", {.balanced = true}}, {"side", {.values = {1, 2.5}}}};
  options.head_weights = {{"colour", 0.5}, {"side", 2}};
  options.freeze = {"stem.*", "block.*"};
  nlohmann::json expected{{"progressive_resizing", "none"},
                          {"progressive_resizing's epochs", 0},
                          {"batch", 64},
                          {"lr_scale_batch", 0},
                          {"optimizer", "adam"},
                          {"learning_rate", 1e-4},
                          {"schedule", "constant"},
                          {"schedule's epochs", 0},
                          {"warmup_epochs", 0.0},
                          {"warmup_factor", 0.01},
                          {"step_size", 30},
                          {"gamma", 0.1},
                          {"eta_min", 0.0},
                          {"pct_start", 0.3},
                          {"div_factor", 25.0},
                          {"final_div_factor", 1e4},
                          {"beta1", 0.9},
                          {"beta2", 0.999},
                          {"eps", 1e-8},
                          {"momentum", 0.9},
                          {"nesterov", false},
                          {"trust_coefficient", 0.001},
                          {"weight_decay", 0.0},
                          {"bias_decay", true},
                          {"lr_fan_in", 0},
                          {"label_smoothing", 0.0},
                          {"class_weights", "colour=balanced side=1,2.5 stripes=balanced"},
                          {"head_weights", "colour=0.5 side=2"},
                          {"accumulate", 1},
                          {"clip_norm", 0.0},
                          {"ema_decay", 0.0},
                          {"freeze", "stem.* block.*"},
                          {"sync_batch_norm", false},
                          {"reduce", "f32"},
                          {"seed", 0},
                          {"flip", true},
                          {"random_resized_crop", "none"},
                          {"trivial_augment", false},
                          {"rand_augment", "none"},
                          {"rotation", "none"},
                          {"affine", "none"},
                          {"color_jitter", "none"},
                          {"grayscale", "none"},
                          {"blur", "none"},
                          {"random_erasing", "none"},
                          {"mixup", "none"},
                          {"cutmix", "none"},
                          {"interpolation", "bilinear"},
                          {"drop_last", false},
                          {"precision", "f32"},
                          {"training images", small::train_images},
                          {"sampler", "shuffled"},
                          {"training data", train::fingerprint(small::train_set())}};
  CHECK(nlohmann::json(record(options)).dump() == expected.dump());
  options.schedule.kind = LearningRateSchedule::Kind::one_cycle;
  expected.update({{"schedule", "one-cycle"},
                   {"schedule's epochs", 100},
                   {"cycle_momentum", true},
                   {"base_momentum", 0.85},
                   {"max_momentum", 0.95}});
  CHECK(nlohmann::json(record(options)).dump() == expected.dump());
}

TEST_CASE("a recipe sets its options, which are allowed, and no others") {
  REQUIRE(!train_recipes().empty());
  for (const TrainRecipe& recipe : train_recipes()) {
    CAPTURE(recipe.name);
    CHECK(&train_recipe(recipe.name) == &recipe);
    CHECK(!recipe.help.empty());
    TrainOptions options;
    options.seed = 7;
    const std::map<std::string, Texts> before = texts_of(options);
    apply_recipe(options, recipe);
    check_options(options);
    std::map<std::string, Texts> expected = before;
    for (const auto& [name, text] : recipe.options) {
      TrainOptions alone;
      train_option(name).set(alone, {text}, name);
      expected[name] = train_option(name).texts(alone);
      CHECK(expected[name] != before.at(name));
    }
    CHECK(texts_of(options) == expected);
  }
  CHECK(error_of([] { train_recipe("nothing"); }) == "recipe is 'nothing'; allowed: faces");
}
