#include "interchange/pretrained.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "facet/error.h"
#include "interchange/model_file_with_state.h"
#include "interchange/pytorch_file.h"
#include "interchange/safetensors_header.h"

namespace facet::interchange {
namespace {

constexpr std::string_view own_heads = "heads.";
/// What torchvision's models and facet's call their classifiers.
constexpr std::array<std::string_view, 3> classifiers{"fc.", "classifier.", own_heads};

struct OpenedFile {
  std::vector<TensorSource> sources;
  bool varied = false;  ///< a model file of facet that names a shape
};

OpenedFile open_safetensors(const std::filesystem::path& file) {
  const auto reader = std::make_shared<const SafetensorsReader>(file);
  OpenedFile opened{.sources = {}, .varied = reader->metadata().contains("shape")};
  for (const TensorEntry& tensor : reader->tensors()) {
    const bool whole = tensor.type == ElementType::s64;
    opened.sources.push_back({.name = tensor.name,
                              .shape = tensor.shape,
                              .values = [reader, &tensor, whole]() -> TensorValues {
                                if (whole) return reader->read_s64(tensor);
                                return reader->read_f32(tensor);
                              },
                              .type = whole ? DataType::s64 : DataType::f32});
  }
  return opened;
}

/// The format is told by the file's first bytes, never by its name.
OpenedFile open(const std::filesystem::path& file) {
  std::array<char, 9> first{};
  {
    const ReadableFile readable(file);
    readable.read(
        0, std::as_writable_bytes(std::span(first)).first(std::min<std::uint64_t>(readable.size(), first.size())));
  }
  const std::string_view begin(first.data(), first.size());
  if (begin[8] == '{') return open_safetensors(file);  // after the header's length
  if (begin.starts_with("PK")) return {.sources = open_pytorch_file(file)};
  if (begin.starts_with('\x80')) {
    throw Error(
        fmt::format("{}: is a pickle without an archive, as PyTorch wrote before 1.6; it is read once PyTorch "
                    "has loaded it and saved its state_dict again",
                    file.string()));
  }
  throw Error(
      fmt::format("{}: is neither a safetensors file nor the zip archive that torch.save writes", file.string()));
}

bool is_classifiers(std::string_view tensor) {
  return std::any_of(classifiers.begin(), classifiers.end(),
                     [&](std::string_view classifier) { return tensor.starts_with(classifier); });
}

/// "heads.age" of "heads.age.weight".
std::string layer_of(std::string_view tensor) { return std::string(tensor.substr(0, tensor.rfind('.'))); }

bool fits(const TensorSource& tensor, const Parameter& parameter) {
  return tensor.shape == parameter.shape && tensor.type == parameter.type;
}

std::string described(const Shape& shape, DataType type) {
  return fmt::format("{} {}", type == DataType::s64 ? "integer" : "floating-point", facet::to_string(shape));
}

/// Tensors that stand in the way of a file's use: the first is told, the others are counted.
class Misfits {
 public:
  void add(std::string_view tensor, const std::string& what) {
    if (count_++ == 0) first_ = fmt::format("{} {}", in_quotes(tensor), what);
  }
  void tell(std::vector<std::string>& texts) const {
    if (count_ == 0) return;
    texts.push_back(count_ == 1 ? first_ : fmt::format("{} (as {} more)", first_, count_ - 1));
  }

 private:
  std::string first_;
  int count_ = 0;
};

std::string listed(const std::set<std::string>& layers) {
  constexpr std::size_t most = 8;
  std::vector<std::string> names;
  for (const std::string& layer : layers) names.push_back(in_quotes(layer));
  if (names.size() <= most) return fmt::format("{}", fmt::join(names, ", "));
  return fmt::format("{} and {} more", fmt::join(names.begin(), names.begin() + most, ", "), names.size() - most);
}

}  // namespace

Pretrained::Pretrained(const std::filesystem::path& file, const std::vector<Parameter>& parameters)
    : name_(file.string()), taken_(parameters.size(), -1) {
  OpenedFile opened = open(file);
  sources_ = std::move(opened.sources);
  std::map<std::string_view, int> by_name;
  for (std::size_t i = 0; i < sources_.size(); ++i) by_name.emplace(sources_[i].name, static_cast<int>(i));
  Misfits missing, misshapen, extra;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    const auto found = by_name.find(parameter.name);
    const bool is_there = found != by_name.end();
    if (is_there && fits(sources_[static_cast<std::size_t>(found->second)], parameter)) {
      taken_[i] = found->second;
    } else if (parameter.name.starts_with(own_heads)) {
      found_.fresh.insert(layer_of(parameter.name));
    } else if (is_there) {
      const TensorSource& tensor = sources_[static_cast<std::size_t>(found->second)];
      misshapen.add(parameter.name, fmt::format("is {}, {} is wanted", described(tensor.shape, tensor.type),
                                                described(parameter.shape, parameter.type)));
    } else if (parameter.type != DataType::s64) {  // counters came late to PyTorch, and nothing reads them
      missing.add(parameter.name, "is missing");
    }
  }
  std::vector<bool> is_taken(sources_.size(), false);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (found_.fresh.contains(layer_of(parameters[i].name))) taken_[i] = -1;  // a layer as a whole
    if (taken_[i] >= 0) is_taken[static_cast<std::size_t>(taken_[i])] = true;
  }
  std::set<std::string_view> names;
  for (const Parameter& parameter : parameters) names.insert(parameter.name);
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const std::string& tensor = sources_[i].name;
    if (is_taken[i]) continue;
    if (is_classifiers(tensor)) {
      found_.left_out.insert(layer_of(tensor));
    } else if (!names.contains(tensor)) {
      extra.add(tensor, "is none of the model's");
    }
  }
  std::vector<std::string> misfits;
  for (const Misfits* kind : {&missing, &misshapen, &extra}) kind->tell(misfits);
  if (misfits.empty()) return;
  throw Error(fmt::format("{}: doesn't fit the model: {}{}", name_, fmt::join(misfits, "; "),
                          opened.varied ? "; the file's metadata tell the shape of its own" : ""));
}

std::string Pretrained::describe() const {
  const auto taken = std::count_if(taken_.begin(), taken_.end(), [](int source) { return source >= 0; });
  std::string text = fmt::format("{}: {} tensors are taken", name_, taken);
  if (!found_.left_out.empty()) text += fmt::format("; left out of it: {}", listed(found_.left_out));
  if (!found_.fresh.empty()) text += fmt::format("; drawn anew: {}", listed(found_.fresh));
  return text;
}

void Pretrained::load(Parameters& parameters) const {
  for (std::size_t i = 0; i < taken_.size(); ++i) {
    if (taken_[i] < 0) continue;
    const TensorSource& source = sources_[static_cast<std::size_t>(taken_[i])];
    const TensorValues values = source.values();
    if (const auto* whole = std::get_if<std::vector<std::int64_t>>(&values)) {
      parameters.set_counter(static_cast<int>(i), whole->at(0));
      continue;
    }
    require_finite(name_, source.name, std::get<std::vector<float>>(values), is_variance(source.name));
    parameters.set(static_cast<int>(i), std::get<std::vector<float>>(values));
  }
}

}  // namespace facet::interchange

namespace facet {

PretrainedWeights load_pretrained(const std::filesystem::path& file, Parameters& parameters) {
  const interchange::Pretrained pretrained(file, parameters.list());
  pretrained.load(parameters);
  return pretrained.found();
}

}  // namespace facet
