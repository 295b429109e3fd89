#include "interchange/pickled_state_dict.h"

#include <doctest/doctest.h>

#include <span>

#include "error_of.h"
#include "interchange/pickles.h"

using namespace facet;
using namespace facet::interchange;
using namespace pickles;
using namespace std::string_literals;

namespace {

std::vector<PickledTensor> read(const std::string& pickle) {
  return read_state_dict("w.pth", std::as_bytes(std::span(pickle)));
}

/// A state_dict of one tensor, w.
std::string one(const std::string& value) { return whole(dictionary({{"w", value}})); }

const Tensor matrix{.shape = {2, 3}, .strides = {3, 1}, .elements = 6};

struct Refused {
  const char* name;
  std::string pickle;
  const char* says;
};

}  // namespace

TEST_CASE("a state_dict's tensors are read as the pickle has them") {
  const auto tensors = read(whole(dictionary(
      {{"a.weight", tensor({.shape = {2, 3}, .strides = {1, 2}, .elements = 9, .offset = 3, .storage = "7"})},
       {"a.count", tensor({.shape = {}, .strides = {}, .elements = 1, .type = "LongStorage"})},
       {"none", tensor({.shape = {0, 4}, .strides = {4, 1}, .elements = 0, .type = "BFloat16Storage"})}})));
  REQUIRE(tensors.size() == 3);
  CHECK(tensors[0].name == "a.weight");
  CHECK(tensors[0].storage == "7");
  CHECK(tensors[0].type == StorageType::f32);
  CHECK(tensors[0].storage_elements == 9);
  CHECK(tensors[0].offset == 3);
  CHECK(tensors[0].shape == Shape{2, 3});
  CHECK(tensors[0].strides == std::vector<std::int64_t>{1, 2});
  CHECK(tensors[0].extent() == 6);
  CHECK(tensors[1].type == StorageType::s64);
  CHECK(tensors[1].extent() == 1);
  CHECK(tensors[2].type == StorageType::bf16);
  CHECK(tensors[2].extent() == 0);
}

TEST_CASE("dictionaries of every kind are taken") {
  const std::string w = tensor(matrix);
  const std::string ordered = global("collections", "OrderedDict") + ")R";
  CHECK(read(whole("}")).empty());
  CHECK(read(whole(ordered + text("w") + w + "s")).size() == 1);
  // With attributes, as PyTorch's state_dicts have them.
  CHECK(read(whole(ordered + "(" + text("w") + w + "u}" + text("_metadata") + ordered + "sb")).size() == 1);
  // A parameter: a tensor, whether it needs a gradient, hooks.
  CHECK(read(one(global("torch._utils", "_rebuild_parameter") + "(" + w + "\x88" + ordered + "tR")).size() == 1);
  // By protocol 4: a frame, short names, globals by the stack, a memo without numbers.
  const std::string w4 = "\x8c\x0ctorch._utils\x94\x8c\x12_rebuild_tensor_v2\x94\x93\x94("s + storage(matrix) +
                         "K\0K\x02K\x03\x86K\x03K\x01\x86\x89\x8c\x0b"s
                         "collections\x8c\x0bOrderedDict\x93)RtR";
  CHECK(read(whole("\x95"s + bytes_of(std::uint64_t{99}) + "}\x8c\x01w" + w4 + "s")).size() == 1);
}

TEST_CASE("nothing is run, and nothing else is read") {
  const std::string w = tensor(matrix), ordered = global("collections", "OrderedDict");
  const auto with = [&](const Tensor& changed) { return one(tensor(changed)); };
  const std::string rebuild = global("torch._utils", "_rebuild_tensor_v2");
  std::string deep = "]";
  for (int i = 0; i < 300'000; ++i) deep += "]";
  for (int i = 0; i < 300'000; ++i) deep += "a";
  const Refused cases[] = {
      {"code", whole(global("os", "system") + text("false") + "\x85R"), R"(its pickle names "os.system")"},
      {"code by protocol 4", whole(text("builtins") + text("eval") + "\x93"), R"(names "builtins.eval")"},
      {"code that is only named", one(global("posix", "system")), R"(names "posix.system")"},
      {"a model", whole(global("torchvision.models.resnet", "ResNet") + ")\x81"), "save a model's state_dict()"},
      {"another storage", with({.shape = {1}, .strides = {1}, .elements = 1, .type = "ByteStorage"}),
       R"(elements of "torch.ByteStorage"; Float-)"},
      {"calling what is no function", whole(global("torch", "FloatStorage") + ")R"), "with 0 arguments"},
      {"calling with other arguments", whole(ordered + integers({1}) + "R"), "with 1 arguments"},
      {"calling a text", whole(text("os.system") + ")R"), "a text where a name belongs"},

      {"empty", "", "cut off"},
      {"protocol 0", "(dp0\n.", "the instruction"},
      {"protocol 9", "\x80\x09}.", "of protocol 9"},
      {"no end", proto + "}", "cut off"},
      {"a text that is cut off", proto + "X" + bytes_of(std::uint32_t{0xffffffff}) + "x.", "cut off"},
      {"a text of 2^63 bytes", proto + "\x8d" + bytes_of(std::uint64_t{1} << 63) + "x.", "cut off"},
      {"a name that is cut off", proto + "ctorch", "cut off"},
      {"an empty stack", proto + ".", "a value is missing"},
      {"below a mark", proto + "}(.", "a value is missing"},
      {"no mark", proto + "}u.", "a mark is missing"},
      {"an unknown memo", proto + "h\x05.", "never made"},
      {"an odd dictionary", proto + "}(Nu.", "a key without a value"},
      {"a set item of a list", proto + "]NNs.", "a list where a dictionary belongs"},
      {"attributes of a list", proto + "]}b.", "a list where a dictionary belongs"},
      {"another instruction", proto + "\x8f.", "instruction 0x8f"},
      {"a long integer", proto + "\x8a\x09" + std::string(9, '\1') + ".", "more than 64 bits"},

      {"a list", whole("]"), "holds a list, not a state_dict"},
      {"a deep list", whole(deep), "holds a list"},
      {"a tensor", whole(w), "holds a tensor, not a state_dict"},
      {"a number", whole(dictionary({{"epoch", integer(3)}})), R"("epoch" in its dictionary is an integer)"},
      {"a nested state_dict", whole(dictionary({{"state_dict", dictionary({{"w", w}})}})),
       R"(save checkpoint["state_dict"] alone)"},
      {"a key that is a number", whole("}"s + integer(1) + w + "s"), "an integer for a key"},
      {"a name twice", whole(dictionary({{"w", w}, {"w", w}})), R"(has "w" twice)"},

      {"beyond the storage", with({.shape = {2, 3}, .strides = {3, 1}, .elements = 5}), "leaves its storage of 5"},
      {"an offset beyond", with({.shape = {1}, .strides = {1}, .elements = 5, .offset = 5}), "leaves its storage"},
      {"an offset before", with({.shape = {1}, .strides = {1}, .elements = 5, .offset = -1}), "leaves its storage"},
      {"strides beyond", with({.shape = {2}, .strides = {INT64_MAX}, .elements = 5}), "leaves its storage"},
      {"strides that overflow", with({.shape = {3, 3}, .strides = {INT64_MAX / 2, INT64_MAX / 2}, .elements = 5}),
       "leaves its storage"},
      {"extents that overflow", with({.shape = {INT64_MAX, INT64_MAX}, .strides = {0, 0}, .elements = 5}),
       "leaves its storage"},
      {"a negative extent", with({.shape = {-1}, .strides = {1}, .elements = 5}), "-1 where 0 or more belongs"},
      {"a negative stride", with({.shape = {2}, .strides = {-1}, .elements = 5, .offset = 3}), "0 or more"},
      {"strides that are missing", with({.shape = {2, 2}, .strides = {1}, .elements = 5}), "2 extents and 1 strides"},
      {"40 extents", with({.shape = std::vector<std::int64_t>(40, 1), .strides = {1}, .elements = 5}), "40 extents"},
      {"a negative storage", with({.shape = {0}, .strides = {1}, .elements = -5}), "a storage that can't be"},
      {"a storage's key of 100 letters",
       with({.shape = {1}, .strides = {1}, .elements = 5, .storage = std::string(100, 'x')}),
       "a storage that can't be"},
      {"a storage that is a number", proto + integer(1) + "Q.", "an integer where a tuple belongs"},
      {"a tensor without a storage", whole(rebuild + "(NNNNNNtR"), "None where a storage belongs"},
      {"a tensor of a list", whole(rebuild + "(" + storage(matrix) + integer(0) + "]]\x89}tR"),
       "where a tuple belongs"},
      {"a tensor that is negated",
       one(rebuild + "(" + storage(matrix) + integer(0) + integers({1}) + integers({1}) + "\x89}" +
           dictionary({{"neg", "\x88"}}) + "tR"),
       "save its clone()"},
  };
  for (const Refused& refused : cases) {
    CAPTURE(refused.name);
    const std::string what = error_of([&] { read(refused.pickle); });
    CHECK_MESSAGE(contains(what, refused.says), what);
    CHECK_MESSAGE(what.starts_with("w.pth: "), what);
    CHECK(what.find('\n') == std::string::npos);
    CHECK(what.size() < 400);
  }
}

TEST_CASE("a pickle that makes too much is refused before memory is") {
  std::string many = proto + "(";
  many.append(3'000'000, ']');
  CHECK(contains(error_of([&] { read(many); }), "more than 2000000 values"));
  std::string holds_itself = whole(
      "]q\x01(h\x01h\x01"
      "e");
  CHECK(contains(error_of([&] { read(holds_itself); }), "holds a list"));
}

TEST_CASE("a pickle cut off anywhere, or with any byte changed, is read or refused") {
  const std::string good = whole(dictionary({{"w", tensor(matrix)}, {"v", tensor(matrix)}}));
  for (std::size_t length = 0; length < good.size(); ++length) CHECK_THROWS_AS(read(good.substr(0, length)), Error);
  for (std::size_t place = 0; place < good.size(); ++place) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = good;
      changed[place] = static_cast<char>(changed[place] ^ (1 << bit));
      error_of([&] { read(changed); });
    }
  }
}
