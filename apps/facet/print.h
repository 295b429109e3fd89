#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <iterator>
#include <utility>

namespace facet::app {

// Unlike fmt::print, these don't throw where the stream can't be written (a full disk, a pipe whose reader has gone):
// the stream remembers it, and main() tells of it once the work, which may be hours of training, is done.

template <class... Arguments>
void print_to(std::FILE* stream, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  fmt::memory_buffer text;
  fmt::format_to(std::back_inserter(text), format, std::forward<Arguments>(arguments)...);
  std::fwrite(text.data(), 1, text.size(), stream);
}

/// To standard output.
template <class... Arguments>
void print_out(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  print_to(stdout, format, std::forward<Arguments>(arguments)...);
}

/// To standard error.
template <class... Arguments>
void print_error(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  print_to(stderr, format, std::forward<Arguments>(arguments)...);
}

}  // namespace facet::app
