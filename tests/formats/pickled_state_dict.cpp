#include "formats/pickled_state_dict.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <span>

#include "formats/pickles.h"
#include "testing.h"

using namespace facet;
using namespace facet::formats;
using namespace pickles;
using namespace std::string_literals;

namespace {

PickledStateDict read_checkpoint(const std::string& pickle) {
  return read_state_dict("w.pth", read_pickle("w.pth", std::as_bytes(std::span(pickle))));
}
std::vector<PickledTensor> read(const std::string& pickle) { return read_checkpoint(pickle).tensors; }

/// A state_dict of one tensor, w.
std::string one(const std::string& value) { return whole(dictionary({{"w", value}})); }

const Tensor matrix{.shape = {2, 3}, .strides = {3, 1}, .elements = 6};

struct Refused {
  const char* name;
  std::string pickle;
  const char* message;
};

}  // namespace

TEST_CASE("a state_dict's tensors are read with the pickle's shapes, strides and storages") {
  const auto tensors = read(whole(dictionary(
      {{"a.weight", tensor({.shape = {2, 3}, .strides = {1, 2}, .elements = 9, .offset = 3, .storage = "7"})},
       {"a.count", tensor({.shape = {}, .strides = {}, .elements = 1, .type = "LongStorage"})},
       {"none", tensor({.shape = {0, 4}, .strides = {4, 1}, .elements = 0, .type = "BFloat16Storage"})}})));
  REQUIRE(tensors.size() == 3);
  CHECK(tensors[0].name == "a.weight");
  CHECK(tensors[0].storage.key == "7");
  CHECK(tensors[0].storage.type == StorageType::f32);
  CHECK(tensors[0].storage.elements == 9);
  CHECK(tensors[0].offset == 3);
  CHECK(tensors[0].shape == Shape{2, 3});
  CHECK(tensors[0].strides == std::vector<std::int64_t>{1, 2});
  CHECK(tensors[0].extent() == 6);
  CHECK(tensors[1].storage.type == StorageType::s64);
  CHECK(tensors[1].extent() == 1);
  CHECK(tensors[2].storage.type == StorageType::bf16);
  CHECK(tensors[2].extent() == 0);
}

TEST_CASE("dictionaries of every kind are read") {
  const std::string w = tensor(matrix);
  const std::string ordered = global("collections", "OrderedDict") + ")R";
  CHECK(read(whole("}")).empty());
  CHECK(read(whole(ordered + text("w") + w + "s")).size() == 1);
  // With attributes, as PyTorch's state_dicts have them.
  CHECK(read(whole(ordered + "("s + text("w") + w + "u}"s + text("_metadata") + ordered + "sb")).size() == 1);
  // A parameter: a tensor, whether it needs a gradient, hooks.
  CHECK(read(one(global("torch._utils", "_rebuild_parameter") + "(" + w + "\x88" + ordered + "tR")).size() == 1);
  // By protocol 4: a frame, short names, globals by the stack, a memo without numbers.
  const std::string w4 = "\x8c\x0ctorch._utils\x94\x8c\x12_rebuild_tensor_v2\x94\x93\x94("s + storage(matrix) +
                         "K\0K\x02K\x03\x86K\x03K\x01\x86\x89\x8c\x0b"s
                         "collections\x8c\x0bOrderedDict\x93)RtR";
  CHECK(read(whole("\x95"s + bytes_of(std::uint64_t{99}) + "}\x8c\x01w" + w4 + "s")).size() == 1);
}

TEST_CASE("dictionaries and tensors are read as every release of PyTorch and Python wrote them") {
  const std::string ordered = global("collections", "OrderedDict");
  const auto extent = [](const std::string& pickle) {
    const auto tensors = read(pickle);
    REQUIRE(tensors.size() == 1);
    CHECK(tensors[0].name == "w");
    CHECK(tensors[0].strides == std::vector<std::int64_t>{3, 1});
    return tensors[0].extent();
  };
  const std::string w = tensor(matrix);
  const std::string numbers = storage(matrix) + integer(0) + integers({2, 3}) + integers({3, 1});
  // Python 2: OrderedDict([["w", w]]), and text as strings of bytes.
  CHECK(extent(whole(ordered + "](](U\1w" + w + "ee\x85R")) == 6);
  CHECK(extent(whole(global("collections", "defaultdict") + global("__builtin__", "dict") + "\x85R"s + text("w") + w +
                     "s")) == 6);
  // Before 0.4: without requires_grad and hooks, of a torch.Size; before that as an object with a state.
  CHECK(extent(one(call("torch._utils", "_rebuild_tensor", numbers))) == 6);
  CHECK(extent(one(call("torch._utils", "_rebuild_tensor",
                        storage(matrix) + integer(0) + call("torch", "Size", integers({2, 3})) + integers({3, 1})))) ==
        6);
  CHECK(extent(one(global("torch", "FloatTensor") + ")\x81(" + numbers + "tb")) == 6);
  // Parameters: of a tensor, with a state (0.2), and as a state (0.1).
  CHECK(extent(one(call("torch.nn.parameter", "Parameter", w) + "(\x88\x89" + ordered + ")Rtb")) == 6);
  CHECK(extent(one(global("torch.nn.parameter", "Parameter") + ")\x81(" + w + "NN\x88\x89tb")) == 6);
  CHECK(extent(one(call("torch._utils", "_rebuild_parameter_with_state", w + "\x88" + ordered + ")R}"))) == 6);
  // A tensor with attributes.
  CHECK(extent(one(call("torch._tensor", "_rebuild_from_type_v2",
                        global("torch._utils", "_rebuild_tensor_v2") + global("torch.nn.parameter", "Parameter") + "(" +
                            numbers + "\x89}t}"))) == 6);
  // A view of a storage, as before 1.6: elements 2 to 7 of 9.
  const std::string view = "("s + text("storage") + global("torch", "FloatStorage") + text("0") + text("cpu") +
                           integer(9) + "("s + text("1") + integer(2) + integer(6) + "ttQ";
  const auto viewed =
      read(one(call("torch._utils", "_rebuild_tensor", view + integer(0) + integers({2, 3}) + integers({3, 1}))));
  CHECK(viewed.at(0).offset == 2);
  CHECK(contains(
      error_of([&] {
        read(one(call("torch._utils", "_rebuild_tensor", view + integer(1) + integers({2, 3}) + integers({3, 1}))));
      }),
      "extends beyond its storage of 6"));
}

TEST_CASE("a checkpoint's state_dict is read, and its other entries are ignored") {
  const std::string w = tensor(matrix), v = tensor({.shape = {1}, .strides = {1}, .elements = 1});
  const std::string model = dictionary({{"w", w}}), average = dictionary({{"v", v}, {"u", v}});
  const std::vector<std::pair<std::string, std::string>> others{
      {"epoch", integer(3)},
      {"best", "G"s + std::string(8, '\0')},
      {"args", global("argparse", "Namespace") + ")\x81"s + dictionary({{"lr", "N"}}) + "b"},
      {"code", global("os", "system") + text("false") + "\x85R"},
      {"optimizer", dictionary({{"state", "}"s + integer(0) + dictionary({{"step", v}}) + "s"},
                                {"groups", "]("s + dictionary({{"lr", "G"s + std::string(8, '\1')}}) + "e"}})},
      {"random", tensor({.shape = {1}, .strides = {1}, .elements = 1, .type = "ByteStorage"})},
      {"scores", call("numpy.core.multiarray", "_reconstruct", global("numpy", "ndarray") + integer(0) + "C\1b") +
                     "("s + integer(1) + "C\2xyt" + "b"},
      {"names", "\x8f("s + text("a") + "\x90"},
      {"fixed", "("s + text("a") + "\x91"},
      {"many", std::string("\x8a\x09") + std::string(9, '\1')},
      {"old", "I4294967296\n"},
      {"path", global("pathlib", "PosixPath") + text("a") + "\x85" + "}\x92"},
      {"none", "N0N"},
      {"gone", "N(NN1"}};
  const auto checkpoint = [&](std::vector<std::pair<std::string, std::string>> items) {
    items.insert(items.begin(), others.begin(), others.end());
    return read_checkpoint(whole(dictionary(items)));
  };
  for (const char* key : {"state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema"}) {
    CAPTURE(key);
    const PickledStateDict found = checkpoint({{key, model}});
    CHECK(found.path == fmt::format("[\"{}\"]", key));
    REQUIRE(found.tensors.size() == 1);
    CHECK(found.tensors[0].name == "w");
  }
  CHECK(checkpoint({{"state_dict_ema", average}, {"model", text("resnet34")}, {"state_dict", model}}).tensors.size() ==
        1);
  CHECK(checkpoint({{"model", text("resnet34")}, {"state_dict_ema", average}}).tensors.size() == 2);
  CHECK(checkpoint({{"model", dictionary({{"state_dict", model}})}}).path == R"(["model"]["state_dict"])");
  CHECK(contains(error_of([&] { checkpoint({{"net", model}}); }), R"("epoch" in its dictionary is an integer)"));
  CHECK(
      contains(error_of([&] { read(whole("}q\1"s + text("model") + "h\1s")); }), R"("model" in its dictionary is a)"));
}

TEST_CASE("no code is run, and any other pickle is refused") {
  const std::string w = tensor(matrix), ordered = global("collections", "OrderedDict");
  const auto with = [&](const Tensor& changed) { return one(tensor(changed)); };
  const std::string rebuild = global("torch._utils", "_rebuild_tensor_v2");
  std::string deep = "]";
  for (int i = 0; i < 300'000; ++i) deep += "]";
  for (int i = 0; i < 300'000; ++i) deep += "a";
  const Refused cases[] = {
      {"code", whole(global("os", "system") + text("false") + "\x85R"),
       R"(holds an object of "os.system"; a state_dict (a dictionary of tensors by name) is needed; no pickled)"},
      {"code by protocol 4", whole(text("builtins") + text("eval") + "\x93"), R"(holds the name "builtins.eval")"},
      {"code in a state_dict", one(global("os", "system") + text("false") + "\x85R"),
       R"("w" in its dictionary is an object of "os.system"; a tensor is needed; no pickled code is ever run)"},
      {"code that is only named", one(global("posix", "system")), R"(is the name "posix.system")"},
      {"code for a parameter", one(call("torch.nn.parameter", "Parameter", call("os", "system", text("false")))),
       "a tensor is needed"},
      {"code for a tensor's type",
       one(call("torch._tensor", "_rebuild_from_type_v2", global("os", "system") + "N("s + text("false") + "t}")),
       "a tensor is needed"},
      {"a model", whole(global("torchvision.models.resnet", "ResNet") + ")\x81"),
       R"(holds an object of "torchvision.models.resnet.ResNet")"},
      {"a model, as before 1.6",
       whole("("s + text("module") + global("models", "Net") + text("net.py") + text("class Net") + "tQ)\x81}b"),
       R"(holds an object of "models.Net"; a state_dict (a dictionary of tensors by name) is needed; no pickled)"},
      {"a model in a checkpoint", whole(dictionary({{"model", global("models", "Net") + ")\x81"}})),
       R"("model" in its dictionary is an object of "models.Net"; a tensor is needed; no pickled code is ever run)"},
      {"another storage", with({.shape = {1}, .strides = {1}, .elements = 1, .type = "ByteStorage"}),
       R"(tensor "w" has elements of "torch.ByteStorage"; Float-)"},
      {"a storage of an unknown type", with({.shape = {1}, .strides = {1}, .elements = 1, .type = "NewStorage"}),
       R"(tensor "w" has elements of "torch.NewStorage"; Float-)"},
      {"calling an object that isn't a function", whole(global("torch", "FloatStorage") + ")R"), "holds an object of"},
      {"calling with other arguments", whole(ordered + integers({1}) + "R"), "OrderedDict that isn't made of pairs"},
      {"a dictionary of lists of three", whole(ordered + "](](NNNee\x85R"), "OrderedDict that isn't made of pairs"},
      {"a name of 1,001 bytes", whole(global("os", std::string(999, 'x'))),
       "has a name of a function or class with 1001 bytes; at most 1000 are allowed"},
      {"calling a text", whole(text("os.system") + ")R"), "holds an object; a state_dict"},
      {"calling without arguments", whole(ordered + "NR"), "None where a tuple is needed"},

      {"empty", "", "cut off"},
      {"protocol 0", "(dp0\n.", "the instruction 0x64"},
      {"protocol 9", "\x80\x09}.", "has protocol 9"},
      {"no end", proto + "}", "cut off"},
      {"a text that is cut off", proto + "X" + bytes_of(std::uint32_t{0xffffffff}) + "x.", "cut off"},
      {"a text of 2^63 bytes", proto + "\x8d" + bytes_of(std::uint64_t{1} << 63) + "x.", "cut off"},
      {"bytes that are cut off", proto + "\x8e" + bytes_of(std::uint64_t{9}) + "x.", "cut off"},
      {"a long integer that is cut off", proto + "\x8b" + bytes_of(std::uint32_t{0x80000000}) + "x.", "cut off"},
      {"a name that is cut off", proto + "ctorch", "cut off"},
      {"an invalid decimal integer", proto + "Ix\n.", "an integer isn't a decimal number"},
      {"an empty stack", proto + ".", "a value is missing"},
      {"below a mark", proto + "}(.", "a value is missing"},
      {"no mark", proto + "}u.", "a mark is missing"},
      {"an unknown memo", proto + "h\x05.", "isn't in the memo"},
      {"an odd dictionary", proto + "}(Nu.", "a key has no value"},
      {"a set item of a list", proto + "]NNs.", "a list where a dictionary is needed"},
      {"attributes of a list", proto + "]}b.", "a list where an object is needed"},
      {"an element of a dictionary", proto + "}Na.", "a dictionary where a list is needed"},
      {"another instruction", proto + "\x97.", "instruction 0x97"},

      {"a list", whole("]"), "holds a list; a state_dict"},
      {"a deep list", whole(deep), "holds a list"},
      {"a tensor", whole(w), R"(holds an object of "torch._utils._rebuild_tensor_v2")"},
      {"a long integer", proto + "\x8a\x09"s + std::string(9, '\1') + ".", "holds a long integer"},
      {"a storage", proto + integer(1) + "Q.", "holds a persistent object"},
      {"a number", whole(dictionary({{"epoch", integer(3)}})), R"("epoch" in its dictionary is an integer)"},
      {"a nested dictionary", whole(dictionary({{"net", dictionary({{"w", w}})}})),
       R"("net" in its dictionary is a dictionary; a tensor is needed: save only checkpoint["net"])"},
      {"a key that is a number", whole("}"s + integer(1) + w + "s"), "an integer as a key"},
      {"a name twice", whole(dictionary({{"w", w}, {"w", w}})), R"(has "w" twice)"},

      {"beyond the storage", with({.shape = {2, 3}, .strides = {3, 1}, .elements = 5}),
       "extends beyond its storage of 5"},
      {"an offset beyond", with({.shape = {1}, .strides = {1}, .elements = 5, .offset = 5}),
       "extends beyond its storage"},
      {"an offset before", with({.shape = {1}, .strides = {1}, .elements = 5, .offset = -1}),
       "extends beyond its storage"},
      {"strides beyond", with({.shape = {2}, .strides = {INT64_MAX}, .elements = 5}), "extends beyond its storage"},
      {"strides that overflow", with({.shape = {3, 3}, .strides = {INT64_MAX / 2, INT64_MAX / 2}, .elements = 5}),
       "extends beyond its storage"},
      {"extents that overflow", with({.shape = {INT64_MAX, INT64_MAX}, .strides = {0, 0}, .elements = 5}),
       "extends beyond its storage"},
      {"a negative extent", with({.shape = {-1}, .strides = {1}, .elements = 5}), "has -1 as an extent or stride"},
      {"a negative stride", with({.shape = {2}, .strides = {-1}, .elements = 5, .offset = 3}), "has -1 as"},
      {"strides that are missing", with({.shape = {2, 2}, .strides = {1}, .elements = 5}), "2 extents and 1 strides"},
      {"40 extents", with({.shape = std::vector<std::int64_t>(40, 1), .strides = {1}, .elements = 5}), "40 extents"},
      {"a negative storage", with({.shape = {0}, .strides = {1}, .elements = -5}),
       "an invalid description of a storage"},
      {"a storage's key of 100 letters",
       with({.shape = {1}, .strides = {1}, .elements = 5, .storage = std::string(100, 'x')}),
       "an invalid description of a storage"},
      {"a storage without a key",
       one(rebuild + "(("s + text("storage") + global("torch", "FloatStorage") + "tQNNNNNtR"),
       "an invalid description of a storage"},
      {"a view beyond its storage",
       one(rebuild + "(("s + text("storage") + global("torch", "FloatStorage") + text("0") + text("cpu") + integer(9) +
           "("s + text("1") + integer(5) + integer(5) + "ttQ"s + integer(0) + integers({1}) + integers({1}) +
           "\x89}tR"),
       "an invalid description of a storage"},
      {"a tensor without a storage", one(rebuild + "(NNNNNNtR"),
       R"(tensor "w" is stored in None; a storage is needed)"},
      {"a tensor of nothing", one(rebuild + ")R"), R"(tensor "w" is made of 0 values)"},
      {"a tensor of texts", one(rebuild + "("s + storage(matrix) + integer(0) + text("2") + "]\x89}tR"),
       "has a string as its shape or strides"},
      {"an offset that is a number", one(rebuild + "("s + storage(matrix) + "G"s + std::string(8, '\0') + "))\x89}tR"),
       "has a number as its offset"},
      {"a tensor that is negated",
       one(rebuild + "("s + storage(matrix) + integer(0) + integers({1}) + integers({1}) + "\x89}"s +
           dictionary({{"neg", "\x88"}}) + "tR"),
       "save tensor.clone() instead"},
  };
  for (const Refused& refused : cases) {
    CAPTURE(refused.name);
    const std::string what = error_of([&] { read(refused.pickle); });
    CHECK_MESSAGE(contains(what, refused.message), what);
    CHECK_MESSAGE(what.starts_with("w.pth: "), what);
    CHECK(what.find('\n') == std::string::npos);
    CHECK(what.size() < 400);
  }
}

TEST_CASE("a pickle of too many values is refused before memory is exhausted") {
  const auto expect_refusal = [](const std::string& repeated, const std::string& part) {
    std::string many = proto + "N";
    for (int i = 0; i < 3'000'000; ++i) many += repeated;
    const std::string what = error_of([&] { read(many); });
    CHECK_MESSAGE(contains(what, part), what);
  };
  expect_refusal("]", "more than 2000000 values");
  expect_refusal("2", "stack holds more than 2000000 values");
  expect_refusal("(", "stack holds more than 2000000 marks");
  expect_refusal("\x94", "memo holds more than 2000000 values");
  std::string holds_itself = whole(
      "]q\x01(h\x01h\x01"
      "e");
  CHECK(contains(error_of([&] { read(holds_itself); }), "holds a list"));
}

TEST_CASE("a pickle that joins long texts repeatedly is refused at the first one") {
  std::string many = proto + text(std::string(500'000, 'x')) + "q\1";
  for (int i = 0; i < 100'000; ++i) many += "h\1h\1\x93";
  CHECK(contains(error_of([&] { read(many + "."); }), "has a name of a function or class with 1000000 bytes"));
}

TEST_CASE("more tensors than any network has are refused before they are read") {
  std::string many = "}(";
  for (int i = 0; i < 100'001; ++i) many += text(std::to_string(i)) + "N";
  CHECK(contains(error_of([&] { read(whole(many + "u")); }),
                 "its dictionary has 100001 keys; at most 100000 tensors are read"));
}

TEST_CASE("deep nesting and shared values take time in proportion to the pickle's size") {
  std::string nested = tensor(matrix);
  for (int i = 0; i < 1000; ++i) nested = call("torch.nn.parameter", "Parameter", nested);
  CHECK(contains(error_of([&] { read(one(nested)); }), "a tensor is needed"));
  // The maximum number of tensors, all of which share one tuple of 100,000 arguments.
  std::string arguments = "(";
  for (int i = 0; i < 100'000; ++i) arguments += "N";
  std::string many = "}("s + text("a") + global("torch._utils", "_rebuild_tensor_v2") + "q\x01" + arguments + "tq\x02R";
  for (int i = 1; i < 100'000; ++i) many += text(std::to_string(i)) + "h\x01h\x02R";
  CHECK(contains(error_of([&] { read(whole(many + "u")); }), "is stored in None"));
}

TEST_CASE("a pickle that is truncated, or has any bit changed, is read or refused") {
  const std::string good = whole(dictionary({{"w", tensor(matrix)}, {"v", tensor(matrix)}}));
  for (std::size_t length = 0; length < good.size(); ++length) CHECK_THROWS_AS(read(good.substr(0, length)), Error);
  for (std::size_t position = 0; position < good.size(); ++position) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = good;
      changed[position] = static_cast<char>(changed[position] ^ (1 << bit));
      error_of([&] { read(changed); });
    }
  }
}
