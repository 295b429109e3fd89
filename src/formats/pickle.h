#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace facet::formats {

/// A value that an instruction of a pickle creates. Values refer to each other by their indices in Pickle::values, so
/// that they may be nested to any depth or contain themselves.
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
    call,       ///< the result of a call, or an object of a class; described, never created
    persistent  ///< an object that the writer keeps outside the pickle; `arguments` is its ID
  };

  Kind kind = Kind::none;
  std::int64_t integer = 0;     ///< an integer, or whether a boolean is true
  std::string text = {};        ///< a text, bytes, a long integer's bytes (little-endian), or a global's dotted name
  std::vector<int> items = {};  ///< elements of a list, tuple or set; key, value, key, ... of a dictionary or call
  int function = -1;            ///< of a call
  int arguments = -1;           ///< of a call: a tuple
  int state = -1;               ///< of a call: the argument of __setstate__ in Python; -1: none
};

/// Returns the name of a kind in messages: "a list".
std::string_view to_string(PickleValue::Kind kind);

/// A pickle, read as data. A pickle is a program for Python's pickle machine, which may call any function. Here, names
/// and calls become values that describe them, and nothing is called.
struct Pickle {
  std::vector<PickleValue> values = {};
  int root = -1;
  std::size_t size = 0;  ///< bytes up to the pickle's end; another pickle may follow
};

/// Reads the pickle (of protocols 2 to 5) that begins at `bytes`.
/// @param file names the file in messages.
/// @throws Error naming the file and what was found: an instruction that torch.save doesn't write, or a pickle that is
///   malformed or truncated, creates too many values, or names a function or class by more than 1,000 bytes.
Pickle read_pickle(const std::string& file, std::span<const std::byte> bytes);

}  // namespace facet::formats
