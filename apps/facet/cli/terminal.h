#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace facet::app {

/// Notes that standard output can't be written, for errno's reason.
void note_output_failure();

// Unlike fmt::print, these functions don't throw where the stream can't be written (a full disk, a closed pipe). The
// stream keeps its error flag, and main() reports the error after the work, which may be hours of training, is done.

template <class... Arguments>
void print_to(std::FILE* stream, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  fmt::memory_buffer text;
  fmt::format_to(std::back_inserter(text), format, std::forward<Arguments>(arguments)...);
  if (std::fwrite(text.data(), 1, text.size(), stream) < text.size() && stream == stdout) note_output_failure();
}

/// Prints to standard output.
template <class... Arguments>
void print_out(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  print_to(stdout, format, std::forward<Arguments>(arguments)...);
}

/// Prints to standard error.
template <class... Arguments>
void print_error(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  print_to(stderr, format, std::forward<Arguments>(arguments)...);
}

/// Passes on what has been printed to standard output. Returns whether all of it could be written so far.
bool flush_output();
/// The errno of the first writing to standard output that failed; 0: none has.
int output_failure();

/// From then on nothing is printed to standard output, and no progress bar is drawn.
void silence_output();
/// From then on no progress bar is drawn, and is_quiet() holds: results are printed, but no remarks beside them.
void hide_progress();
bool is_quiet();

/// What a word stands for, which its colour shows where the stream is a terminal, unless NO_COLOR is set
/// (https://no-color.org).
enum class Style : std::uint8_t { failure, note, success };
std::string styled(Style style, const std::string& text, std::FILE* stream);

/// Prints a line "note        TEXT", unless is_quiet().
void print_note(const std::string& text, std::FILE* stream = stdout);

/// The number of columns that UTF-8 text takes on a terminal, counting one for each character.
std::size_t display_width(const std::string& text);

std::string aligned_left(const std::string& text, std::size_t width);
std::string aligned_right(const std::string& text, std::size_t width);

/// Rows of cells under titles, in columns as wide as their widest cell, two blanks apart. Control characters are shown
/// as escapes (printable).
class Table {
 public:
  struct Column {
    std::string title;
    bool numbers = false;  ///< aligned to the right
  };

  explicit Table(std::vector<Column> columns);
  /// Adds a row. @param cells one for each column.
  void add(std::vector<std::string> cells);
  /// All lines, each after `indent` blanks.
  std::string text(std::size_t indent = 0) const;
  /// The same as a Markdown table, its columns aligned in the source too.
  std::string markdown() const;

 private:
  std::vector<std::string> titles() const;
  /// The width of each column's widest cell, including the title.
  std::vector<std::size_t> widths() const;
  std::string line(const std::vector<std::string>& cells, const std::vector<std::size_t>& widths) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// 35264338 as "35,264,338".
std::string grouped(std::int64_t number);
/// "1 image", "2,000 images".
std::string counted(std::int64_t count, const std::string& one);
/// "512 kB", "1.93 GB" (powers of 1000).
std::string bytes_text(double bytes);
/// "0:42", "12:05", "1:02:03".
std::string duration_text(double seconds);
/// A share as "81.2 %".
std::string percent(double share);

/// The maximum number of classes that a table for people shows.
inline constexpr std::size_t max_classes_shown = 1000;
/// The line below such a table: "(and 9,000 more classes)"; empty where all are shown.
std::string more_classes(std::size_t classes);

/// One line on standard error that is redrawn in place. Nothing is drawn where standard error isn't a terminal.
class ProgressBar {
 public:
  ProgressBar();
  /// Wipes the line.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// Whether anything is drawn.
  bool shown() const { return shown_; }
  /// Draws "LABEL [####....] TEXT" within the terminal's width, at most ten times a second.
  /// @param share the share that is done, 0 to 1; below 0: not known, and no bar is drawn.
  void draw(const std::string& label, double share, const std::string& text);
  /// Wipes the line, so that other lines can be printed.
  void clear();

 private:
  bool shown_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point last_{};
};

/// A function for TrainOptions::on_tuning, which is called with the number of primitives chosen so far. It prints once
/// that primitives are being timed, and then draws that number. @param bar must outlive the function.
std::function<void(int)> tuning_progress(ProgressBar& bar);

/// A function to be called with the number of images done. It draws "LABEL [####....] 120/4,995 images".
/// @param bar must outlive the function.
std::function<void(std::int64_t)> count_progress(ProgressBar& bar, std::string label, std::int64_t total);

}  // namespace facet::app
