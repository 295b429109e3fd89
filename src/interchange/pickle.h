#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace facet::interchange {

/// What an instruction of a pickle makes. Values refer to each other by their indices in Pickle::values: they may be
/// nested however deeply, or contain themselves.
struct PickleValue {
  enum class Kind : std::uint8_t {
    none,
    boolean,
    integer,
    long_integer,  ///< of more than 64 bits
    number,
    text,
    bytes,
    list,
    tuple,
    set,
    dictionary,
    global,     ///< a function or class, by name
    call,       ///< the result of a call, or an object of a class: never made, only described
    persistent  ///< what the writer keeps outside of the pickle; `arguments` is its ID
  };

  Kind kind = Kind::none;
  std::int64_t integer = 0;     ///< an integer, or whether a boolean is true
  std::string text = {};        ///< a text, bytes, a long integer's bytes (little-endian), or a global's dotted name
  std::vector<int> items = {};  ///< of a list, tuple or set; of a dictionary or call: key, value, key, ...
  int function = -1;            ///< of a call
  int arguments = -1;           ///< of a call: a tuple
  int state = -1;               ///< of a call: what Python would give to __setstate__; -1: nothing
};

/// How messages call a kind: "a list".
std::string_view to_string(PickleValue::Kind kind);

/// A pickle, read as data. A pickle is a program for Python's pickle machine, which may name any function to be called;
/// here names and calls become values that say so, and nothing is called.
struct Pickle {
  std::vector<PickleValue> values = {};
  int root = -1;
  std::size_t size = 0;  ///< bytes, up to its end: another one may follow
};

/// Reads the pickle (of protocols 2 to 5) that begins at `bytes`.
/// @param file names the file in messages.
/// @throws Error naming the file and what was found: an instruction that no pickle of PyTorch's has, a pickle that is
///   malformed, cut off, makes too many values, or names a function or class by more than 1,000 bytes.
Pickle read_pickle(const std::string& file, std::span<const std::byte> bytes);

}  // namespace facet::interchange
