#include "train/option_row.h"

#include <fmt/ranges.h>

#include <cmath>
#include <limits>
#include <map>
#include <tuple>

namespace facet::train {

using Texts = std::vector<std::string>;

namespace {

constexpr double highest = std::numeric_limits<double>::max();
constexpr const char* balanced = "balanced";

/// Splits NAME=VALUE. @throws Error naming the origin and the form that is needed.
std::pair<std::string, std::string> cut_at_equals(const std::string& text, const std::string& whole,
                                                  const std::string& origin, std::string_view form) {
  const std::size_t equals = text.find('=');
  if (equals != 0 && equals != std::string::npos) return {text.substr(0, equals), text.substr(equals + 1)};
  throw Error(fmt::format("{} is '{}'; {} is needed", origin, whole, form));
}

void require(const NumberRange& range, double value, std::string_view name, std::string_view head) {
  if (!range.holds(value)) throw Error(fmt::format("{} of {} is {}; {} is allowed", name, head, value, range.text()));
}

void check_class_weights(const std::map<std::string, ClassWeights>& by_head, std::string_view name) {
  for (const auto& [head, weights] : by_head) {
    double sum = 0;
    for (const double weight : weights.values) {
      require(at_least(0), weight, name, head);
      sum += weight;
    }
    if (weights.balanced != weights.values.empty() || (!weights.balanced && sum == 0)) {
      throw Error(
          fmt::format("{} of {}: either balanced or a number a class, not all of them 0, is allowed", name, head));
    }
    if (head.empty() && !weights.balanced) {
      throw Error(fmt::format("{} of all heads without their own: balanced is allowed, numbers found", name));
    }
  }
}

ClassWeights parse_class_weights(const std::string& text, const std::string& origin) {
  if (text == balanced) return {.balanced = true};
  ClassWeights weights;
  for (const std::string& word : split_at_commas(text, origin)) weights.values.push_back(parse_number(word, origin));
  return weights;
}

Texts texts_of(const std::map<std::string, ClassWeights>& by_head) {
  Texts texts;
  for (const auto& [head, weights] : by_head) {
    texts.push_back(fmt::format("{}{}{}", head, head.empty() ? "" : "=",
                                weights.balanced ? balanced : fmt::format("{}", fmt::join(weights.values, ","))));
  }
  return texts;
}

void check_head_weights(const std::map<std::string, double>& by_head, std::string_view name) {
  for (const auto& [head, weight] : by_head) require(above(0), weight, name, head);
}

Texts texts_of(const std::map<std::string, double>& by_head) {
  Texts texts;
  for (const auto& [head, weight] : by_head) texts.push_back(fmt::format("{}={}", head, weight));
  return texts;
}

/// All texts as one, which is empty where there is none.
Texts joined(const Texts& texts) { return texts.empty() ? texts : Texts{fmt::format("{}", fmt::join(texts, ","))}; }

}  // namespace

NumberRange above(double low) { return {.low = low, .high = highest, .without_low = true}; }
NumberRange at_least(double low) { return {.low = low, .high = highest}; }

bool NumberRange::holds(double value) const {
  return (without_low ? value > low : value >= low) && (without_high ? value < high : value <= high);
}

std::string NumberRange::text() const {
  if (high == highest) return without_low ? fmt::format("a number above {}", low) : fmt::format("{} or more", low);
  return fmt::format("{}{} up to {}{}", without_low ? "above " : "", low, without_high ? "below " : "", high);
}

double parse_number(const std::string& text, const std::string& origin) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size() && std::isfinite(number)) return number;
  throw Error(fmt::format("{} is '{}'; a number is needed", origin, text));
}

std::vector<std::string> split_at_commas(const std::string& text, const std::string& origin) {
  Texts words;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    if (end == begin) throw Error(fmt::format("{} is '{}'; a value between its commas is empty", origin, text));
    words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

OptionRow completed(OptionRow row) {
  TrainOption& option = row.option;
  if (option.members.empty()) {
    option.members = {option.name};
    std::replace(option.members.front().begin(), option.members.front().end(), '-', '_');
  }
  if (option.value == TrainOption::Value::one && option.default_text.empty()) {
    for (const std::string& text : option.texts({})) option.default_text = text;
  }
  if (option.argument.empty()) option.argument = fmt::format("{}", fmt::join(option.choices, "|"));
  if (!option.check) option.check = [](const TrainOptions&) {};
  return row;
}

OptionRow path(TrainOption option, std::filesystem::path TrainOptions::*member, const std::string& none) {
  const auto parse = [none](const std::string& text, const std::string&) {
    return text == none ? std::filesystem::path() : std::filesystem::path(text);
  };
  return single(std::move(option), member, parse, [](const std::filesystem::path& value) { return value.string(); });
}

namespace {

// The numbers of a change of images, in the order of its text.
auto numbers_of(double& value) { return std::tie(value); }
auto numbers_of(RandAugmentOptions& value) { return std::tie(value.operations, value.magnitude); }
auto numbers_of(AffineRange& value) { return std::tie(value.degrees, value.translate, value.scale, value.shear); }
auto numbers_of(ColorRange& value) { return std::tie(value.brightness, value.contrast, value.saturation, value.hue); }

void parse_into(double& value, const std::string& text, const std::string& origin) {
  value = parse_number(text, origin);
}
void parse_into(std::int64_t& value, const std::string& text, const std::string& origin) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return;
  throw Error(fmt::format("{} is '{}'; whole numbers are needed", origin, text));
}

template <class T>
OptionRow row_of_change(TrainOption option, std::optional<T> Augmentation::*member) {
  const auto parse = [member, form = option.argument](const std::string& text, const std::string& origin) {
    const Texts words = split_at_commas(text, origin);
    T value{};
    std::apply(
        [&](auto&... numbers) {
          if (text == "0") return;  // all numbers are 0
          if (words.size() != sizeof...(numbers)) {
            throw Error(fmt::format("{} is '{}'; {} is needed, with a number for each, or 0", origin, text, form));
          }
          auto word = words.begin();
          (parse_into(numbers, *word++, origin), ...);
        },
        numbers_of(value));
    Augmentation alone;
    alone.*member = value;
    try {
      check_augmentation(alone);
    } catch (const Error& error) {
      throw error.with_prefix(fmt::format("{} is '{}'; ", origin, text));
    }
    return std::optional(value);
  };
  const auto print = [](std::optional<T> value) {
    if (!value) return std::string();
    return std::apply(
        [](const auto&... numbers) { return fmt::format("{}", fmt::join(Texts{fmt::format("{}", numbers)...}, ",")); },
        numbers_of(*value));
  };
  OptionRow row = single(std::move(option), member, parse, print);
  row.option.check = [member](const TrainOptions& options) {
    Augmentation alone;
    alone.*member = options.augmentation.*member;
    check_augmentation(alone);
  };
  row.record = [member, print, key = row.option.members.front()](const TrainOptions& options,
                                                                 nlohmann::ordered_json& json) {
    const std::string text = print(options.augmentation.resolved().*member);
    json[key] = text.empty() ? "none" : text;
  };
  return row;
}

}  // namespace

OptionRow change(TrainOption option, std::optional<double> Augmentation::*member) {
  return row_of_change(std::move(option), member);
}
OptionRow change(TrainOption option, std::optional<RandAugmentOptions> Augmentation::*member) {
  return row_of_change(std::move(option), member);
}
OptionRow change(TrainOption option, std::optional<AffineRange> Augmentation::*member) {
  return row_of_change(std::move(option), member);
}
OptionRow change(TrainOption option, std::optional<ColorRange> Augmentation::*member) {
  return row_of_change(std::move(option), member);
}

OptionRow betas(TrainOption option, const NumberRange& range) {
  option.members = {"beta1", "beta2"};
  option.set = [range](TrainOptions& options, const Texts& texts, const std::string& origin) {
    std::vector<double> values{TrainOptions().beta1, TrainOptions().beta2};
    if (!texts.empty()) {
      values.clear();
      for (const std::string& word : split_at_commas(texts.front(), origin)) {
        values.push_back(parse_number(word, origin));
      }
      if (values.size() != 2 || !range.holds(values[0]) || !range.holds(values[1])) {
        throw Error(fmt::format("{} is '{}'; two numbers, each {}, are needed, such as 0.9,0.999", origin,
                                texts.front(), range.text()));
      }
    }
    options.beta1 = values[0];
    options.beta2 = values[1];
  };
  option.texts = [](const TrainOptions& options) { return Texts{fmt::format("{},{}", options.beta1, options.beta2)}; };
  option.check = [range](const TrainOptions& options) {
    for (const auto& [name, value] : {std::pair{"beta1", options.beta1}, {"beta2", options.beta2}}) {
      if (!range.holds(value)) throw Error(fmt::format("{} is {}; {} is allowed", name, value, range.text()));
    }
  };
  return completed({std::move(option), [](const TrainOptions& options, nlohmann::ordered_json& json) {
                      json["beta1"] = options.beta1;
                      json["beta2"] = options.beta2;
                    }});
}

OptionRow patterns(TrainOption option, std::vector<std::string> TrainOptions::*member) {
  option.value = TrainOption::Value::many;
  option.set = [member](TrainOptions& options, const Texts& texts, const std::string&) { options.*member = texts; };
  option.texts = [member](const TrainOptions& options) { return options.*member; };
  OptionRow row = completed({std::move(option)});
  row.record = [member, key = row.option.members.front()](const TrainOptions& options, nlohmann::ordered_json& json) {
    json[key] = fmt::format("{}", fmt::join(options.*member, " "));
  };
  return row;
}

OptionRow class_weights(TrainOption option) {
  option.value = TrainOption::Value::many;
  option.set = [](TrainOptions& options, const Texts& texts, const std::string& origin) {
    std::map<std::string, ClassWeights> by_head;
    for (const std::string& text : texts) {
      auto [head, weights] = text == balanced
                                 ? std::pair<std::string, std::string>("", balanced)
                                 : cut_at_equals(text, text, origin, "HEAD=W,W,..., HEAD=balanced or balanced");
      if (by_head.emplace(head, parse_class_weights(weights, origin)).second || head.empty()) continue;
      throw Error(fmt::format("{} has two sets of class weights for {}", origin, head));
    }
    check_class_weights(by_head, origin);
    options.class_weights = std::move(by_head);
  };
  option.texts = [](const TrainOptions& options) { return texts_of(options.class_weights); };
  option.check = [](const TrainOptions& options) { check_class_weights(options.class_weights, "class_weights"); };
  return completed({std::move(option), [](const TrainOptions& options, nlohmann::ordered_json& json) {
                      json["class_weights"] = fmt::format("{}", fmt::join(texts_of(options.class_weights), " "));
                    }});
}

OptionRow head_weights(TrainOption option) {
  option.set = [](TrainOptions& options, const Texts& texts, const std::string& origin) {
    std::map<std::string, double> by_head;
    for (const std::string& text : texts) {
      for (const std::string& word : split_at_commas(text, origin)) {
        const auto [head, weight] = cut_at_equals(word, text, origin, "HEAD=W,...");
        if (!by_head.emplace(head, parse_number(weight, origin)).second) {
          throw Error(fmt::format("{} has {} twice", origin, head));
        }
      }
    }
    check_head_weights(by_head, origin);
    options.head_weights = std::move(by_head);
  };
  option.texts = [](const TrainOptions& options) { return joined(texts_of(options.head_weights)); };
  option.check = [](const TrainOptions& options) { check_head_weights(options.head_weights, "head_weights"); };
  return completed({std::move(option), [](const TrainOptions& options, nlohmann::ordered_json& json) {
                      json["head_weights"] = fmt::format("{}", fmt::join(texts_of(options.head_weights), " "));
                    }});
}

namespace {

std::string text_of(const ProgressiveResizing& resizing) {
  return fmt::format("{},{},{}", resizing.initial_scale, resizing.delay_fraction, resizing.finetune_fraction);
}

/// @throws Error saying which number is out of range.
void check(const ProgressiveResizing& resizing) {
  const auto require_share = [](const NumberRange& range, double value, std::string_view name) {
    if (!range.holds(value)) throw Error(fmt::format("its {} is {}; {} is allowed", name, value, range.text()));
  };
  require_share({.low = 0, .high = 1, .without_low = true}, resizing.initial_scale, "initial scale");
  require_share({.low = 0, .high = 1}, resizing.delay_fraction, "delay fraction");
  require_share({.low = 0, .high = 1}, resizing.finetune_fraction, "fine-tuning fraction");
  if (resizing.delay_fraction + resizing.finetune_fraction > 1) {
    throw Error(fmt::format("its fractions are {} and {}; a sum of up to 1 is allowed", resizing.delay_fraction,
                            resizing.finetune_fraction));
  }
}

}  // namespace

OptionRow progressive_resizing(TrainOption option) {
  const auto parse = [](const std::string& text, const std::string& origin) {
    const Texts words = split_at_commas(text, origin);
    ProgressiveResizing resizing;
    if (words.size() != 1 && words.size() != 3) {
      throw Error(fmt::format("{} is '{}'; SCALE, or SCALE,DELAY,FINETUNE, is needed", origin, text));
    }
    resizing.initial_scale = parse_number(words[0], origin);
    if (words.size() == 3) {
      resizing.delay_fraction = parse_number(words[1], origin);
      resizing.finetune_fraction = parse_number(words[2], origin);
    }
    try {
      check(resizing);
    } catch (const Error& error) {
      throw error.with_prefix(fmt::format("{} is '{}'; ", origin, text));
    }
    return resizing;
  };
  OptionRow row = single(std::move(option), &TrainOptions::progressive_resizing, parse, [](const auto& value) {
    return value == ProgressiveResizing() ? std::string() : text_of(value);
  });
  row.option.check = [](const TrainOptions& options) {
    try {
      check(options.progressive_resizing);
    } catch (const Error& error) {
      throw error.with_prefix("progressive_resizing: ");
    }
  };
  row.record = [](const TrainOptions& options, nlohmann::ordered_json& json) {
    const bool used = options.progressive_resizing.is_used();
    json["progressive_resizing"] = used ? text_of(options.progressive_resizing) : "none";
    json["progressive_resizing's epochs"] = used ? options.epochs : 0;
  };
  return row;
}

OptionRow head_split(TrainOption option) {
  option.set = [](TrainOptions& options, const Texts& texts, const std::string& origin) {
    try {
      options.split_head = texts.empty() ? HeadSplit{} : parse_head_split(texts.front());
    } catch (const Error& error) {
      throw error.with_prefix(origin + ": ");
    }
  };
  option.texts = [](const TrainOptions& options) {
    const HeadSplit& split = options.split_head;
    Texts rows;
    for (const HeadRows& part : split.heads) {
      rows.push_back(fmt::format("{}:{}-{}", part.head.name, part.first,
                                 part.first + static_cast<std::int64_t>(part.head.classes.size()) - 1));
    }
    return split.layer.empty() ? Texts{} : Texts{fmt::format("{}={}", split.layer, fmt::join(rows, ","))};
  };
  option.check = [](const TrainOptions& options) {
    const HeadSplit& split = options.split_head;
    if (!split.layer.empty() || split.heads.empty()) return;
    throw Error(fmt::format("split_head has the head {} and no layer; the layer that is split is needed",
                            split.heads.front().head.name));
  };
  return completed({std::move(option)});
}

}  // namespace facet::train
