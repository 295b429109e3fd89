#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <concepts>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "facet/error.h"
#include "facet/train_options.h"

namespace facet::train {

// What a row of the table of training options is made of: one function for each type of value.

/// A row of train_options(), and what only the library needs of it.
struct OptionRow {
  TrainOption option;
  /// Adds the values that a resumed run can't change to the record of a run.
  std::function<void(const TrainOptions&, nlohmann::ordered_json&)> record = {};
};

/// The finite numbers from `low` to `high`.
struct NumberRange {
  double low = 0, high = 0;
  bool without_low = false, without_high = false;

  bool holds(double value) const;
  /// "0 up to below 1", "above 0 up to 1", "0 or more", "a number above 0"
  std::string text() const;
};
NumberRange above(double low);
NumberRange at_least(double low);

/// Reads a finite number, which must be the whole text. @throws Error naming `origin`.
double parse_number(const std::string& text, const std::string& origin);
/// Splits a text at its commas. @throws Error naming `origin` when one is empty.
std::vector<std::string> split_at_commas(const std::string& text, const std::string& origin);

// The members that rows refer to, of TrainOptions, of its schedule or of its augmentation.
template <class T>
T& value_of(TrainOptions& options, T TrainOptions::*member) {
  return options.*member;
}
template <class T>
T& value_of(TrainOptions& options, T LearningRateSchedule::*member) {
  return options.schedule.*member;
}
template <class T>
T& value_of(TrainOptions& options, T Augmentation::*member) {
  return options.augmentation.*member;
}
template <class Owner, class T>
const T& value_of(const TrainOptions& options, T Owner::*member) {
  return value_of(const_cast<TrainOptions&>(options), member);
}

/// Completes a row: the default's text, and members of the option's name.
OptionRow completed(OptionRow row);

/// A row for one member that one text sets.
/// @param parse returns the value of a text. @throws Error naming the origin, its second argument.
/// @param print returns the text of a value; an empty one stands for no value.
template <class Owner, class T, class Parse, class Print>
OptionRow single(TrainOption option, T Owner::*member, const Parse& parse, const Print& print) {
  option.set = [=](TrainOptions& options, const std::vector<std::string>& texts, const std::string& origin) {
    value_of(options, member) = texts.empty() ? value_of(TrainOptions(), member) : parse(texts.front(), origin);
  };
  option.texts = [=](const TrainOptions& options) {
    const std::string text = print(value_of(options, member));
    return text.empty() ? std::vector<std::string>{} : std::vector{text};
  };
  OptionRow row = completed({std::move(option)});
  if (row.option.fixed) {
    row.record = [member, key = row.option.members.front()](const TrainOptions& options, nlohmann::ordered_json& json) {
      if constexpr (std::is_enum_v<T>) {
        json[key] = to_string(value_of(options, member));
      } else if constexpr (std::is_arithmetic_v<T>) {
        json[key] = value_of(options, member);
      }
    };
  }
  return row;
}

/// A row for a number.
template <class Owner>
OptionRow number(TrainOption option, double Owner::*member, const NumberRange& range) {
  const auto parse = [range](const std::string& text, const std::string& origin) {
    const double value = parse_number(text, origin);
    if (range.holds(value)) return value;
    throw Error(fmt::format("{} is '{}'; {} is allowed", origin, text, range.text()));
  };
  OptionRow row = single(std::move(option), member, parse, [](double value) { return fmt::format("{}", value); });
  row.option.check = [member, range, name = row.option.members.front()](const TrainOptions& options) {
    const double value = value_of(options, member);
    if (!range.holds(value)) throw Error(fmt::format("{} is {}; {} is allowed", name, value, range.text()));
  };
  return row;
}

/// A row for a whole number from `low` to `high`.
template <class Owner, std::integral T>
OptionRow whole_number(TrainOption option, T Owner::*member, std::type_identity_t<T> low,
                       std::type_identity_t<T> high) {
  const auto parse = [low, high](const std::string& text, const std::string& origin) {
    T value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size() && value >= low && value <= high) return value;
    throw Error(fmt::format("{} is '{}'; a whole number from {} to {} is needed", origin, text, low, high));
  };
  OptionRow row = single(std::move(option), member, parse, [](T value) { return fmt::format("{}", value); });
  row.option.check = [member, low, high, name = row.option.members.front()](const TrainOptions& options) {
    const T value = value_of(options, member);
    if (value < low || value > high) throw Error(fmt::format("{} is {}; {} to {} is allowed", name, value, low, high));
  };
  return row;
}

/// A row for one of some values, whose names to_string() returns.
template <class Owner, class T>
OptionRow choice(TrainOption option, T Owner::*member, const std::vector<T>& values) {
  for (const T value : values) option.choices.emplace_back(to_string(value));
  const auto parse = [values, choices = option.choices](const std::string& text, const std::string& origin) {
    const auto found = std::find(choices.begin(), choices.end(), text);
    if (found != choices.end()) return values[static_cast<std::size_t>(found - choices.begin())];
    throw Error(fmt::format("{} is '{}'; allowed: {}", origin, text, fmt::join(choices, ", ")));
  };
  OptionRow row = single(std::move(option), member, parse, [](T value) { return std::string(to_string(value)); });
  row.option.check = [member](const TrainOptions& options) { to_string(value_of(options, member)); };
  return row;
}

/// A row for a switch, which sets the member to `on` where its text is "yes".
template <class Owner>
OptionRow flag(TrainOption option, bool Owner::*member, bool on) {
  option.value = TrainOption::Value::flag;
  const auto parse = [on](const std::string& text, const std::string& origin) {
    if (text == "yes") return on;
    if (text == "no") return !on;
    throw Error(fmt::format("{} is '{}'; yes and no are allowed", origin, text));
  };
  return single(std::move(option), member, parse, [on](bool value) { return value == on ? "yes" : "no"; });
}

/// A row for a path.
/// @param none a text that stands for no path; empty: there is none.
OptionRow path(TrainOption option, std::filesystem::path TrainOptions::*member, const std::string& none = "");

/// The row of beta1 and beta2, which one text sets.
OptionRow betas(TrainOption option, const NumberRange& range);

/// The row of patterns of weights.
OptionRow patterns(TrainOption option, std::vector<std::string> TrainOptions::*member);

// The rows of the weights of the loss.
OptionRow class_weights(TrainOption option);
OptionRow head_weights(TrainOption option);

// Rows of a change of images: numbers with commas between them, or no text where the preset decides.
OptionRow change(TrainOption option, std::optional<double> Augmentation::*member);
OptionRow change(TrainOption option, std::optional<RandAugmentOptions> Augmentation::*member);
OptionRow change(TrainOption option, std::optional<AffineRange> Augmentation::*member);
OptionRow change(TrainOption option, std::optional<ColorRange> Augmentation::*member);

/// The row of progressive_resizing.
OptionRow progressive_resizing(TrainOption option);

/// The row of split_head.
OptionRow head_split(TrainOption option);

/// The table of training options: the rows of train_options(), in the same order, with what only the library needs.
const std::vector<OptionRow>& option_table();

}  // namespace facet::train
