#include "cli/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "facet/process_group.h"
#include "facet/text.h"

namespace facet::app {
namespace {

bool is_silent = false;
int failure_of_output = 0;

}  // namespace

void note_output_failure() {
  if (failure_of_output == 0) failure_of_output = errno;
}

bool flush_output() {
  if (std::fflush(stdout) != 0) note_output_failure();
  return std::ferror(stdout) == 0;
}

int output_failure() { return failure_of_output; }

namespace {

/// Whether the stream is a terminal that understands more than text.
bool is_capable(std::FILE* stream) {
  const char* terminal = std::getenv("TERM");
  return isatty(fileno(stream)) == 1 && terminal != nullptr && std::string_view(terminal) != "dumb";
}

}  // namespace

void hide_progress() { is_silent = true; }
bool is_quiet() { return is_silent; }

std::string styled(Style style, const std::string& text, std::FILE* stream) {
  const char* const no_color = std::getenv("NO_COLOR");
  if (!is_capable(stream) || (no_color != nullptr && *no_color != '\0')) return text;
  if (ProcessGroup::is_launched()) return text;  // Open MPI's ranks print to terminals of its own, whatever reads them
  const char* code = "32";                       // green
  if (style == Style::failure) code = "1;31";
  if (style == Style::note) code = "33";  // yellow
  return fmt::format("\033[{}m{}\033[0m", code, text);
}

void print_note(const std::string& text, std::FILE* stream) {
  if (is_quiet()) return;
  print_to(stream, "{}        {}\n", styled(Style::note, "note", stream), text);
}

void silence_output() {
  hide_progress();
  [[maybe_unused]] const std::FILE* const nowhere = std::freopen("/dev/null", "w", stdout);
}

std::size_t display_width(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

std::string aligned_left(const std::string& text, std::size_t width) {
  return text + std::string(width - std::min(width, display_width(text)), ' ');
}

std::string aligned_right(const std::string& text, std::size_t width) {
  return std::string(width - std::min(width, display_width(text)), ' ') + text;
}

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {
  for (Column& column : columns_) column.title = printable(column.title);
}

void Table::add(std::vector<std::string> cells) {
  for (std::string& cell : cells) cell = printable(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::line(const std::vector<std::string>& cells, const std::vector<std::size_t>& widths) const {
  std::string text;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (i > 0) text += "  ";
    text += columns_[i].numbers ? aligned_right(cells[i], widths[i]) : aligned_left(cells[i], widths[i]);
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

std::vector<std::string> Table::titles() const {
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  return titles;
}

std::vector<std::size_t> Table::widths() const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    widths.push_back(display_width(columns_[i].title));
    for (const auto& row : rows_) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  return widths;
}

std::string Table::text(std::size_t indent) const {
  const std::vector<std::size_t> widths = this->widths();
  const std::string before(indent, ' ');
  std::string text = before + line(titles(), widths) + '\n';
  for (const auto& row : rows_) text += before + line(row, widths) + '\n';
  return text;
}

std::string Table::markdown() const {
  const std::vector<std::size_t> widths = this->widths();
  const auto row_text = [&](const std::vector<std::string>& cells) {
    std::string text = "|";
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const bool numbers = columns_[i].numbers;
      text += ' ' + (numbers ? aligned_right(cells[i], widths[i]) : aligned_left(cells[i], widths[i])) + " |";
    }
    return text + '\n';
  };
  std::string text = row_text(titles()) + '|';
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    text += columns_[i].numbers ? std::string(widths[i] + 1, '-') + ":|" : std::string(widths[i] + 2, '-') + '|';
  }
  text += '\n';
  for (const auto& row : rows_) text += row_text(row);
  return text;
}

std::string grouped(std::int64_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const bool after_digit = i > 0 && digits[i - 1] != '-';
    if (after_digit && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string counted(std::int64_t count, const std::string& one) {
  return fmt::format("{} {}{}", grouped(count), one, count == 1 ? "" : "s");
}

std::string bytes_text(double bytes) {
  if (bytes >= 1e9) return fmt::format("{:.2f} GB", bytes / 1e9);
  if (bytes >= 1e6) return fmt::format("{:.1f} MB", bytes / 1e6);
  return fmt::format("{:.0f} kB", bytes / 1e3);
}

std::string duration_text(double seconds) {
  const auto whole = std::isfinite(seconds) && seconds > 0 ? std::llround(seconds) : 0;
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

std::string more_classes(std::size_t classes) {
  if (classes <= max_classes_shown) return "";
  return fmt::format("(and {} more classes)\n", grouped(static_cast<std::int64_t>(classes - max_classes_shown)));
}

namespace {

constexpr std::size_t widest_bar = 20;
constexpr std::size_t narrowest_bar = 4;

bool stderr_draws() { return !is_silent && is_capable(stderr); }

std::size_t terminal_width() {
  winsize size{};
  const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

/// The line with a bar in the width that the texts leave; without a bar where that is too narrow.
std::string line_of(const std::string& label, double share, const std::string& text, std::size_t width) {
  const std::size_t taken = display_width(label) + display_width(text) + 4;
  const std::size_t bar = std::min(widest_bar, width - std::min(width, taken));
  if (bar < narrowest_bar || share < 0) return label + ' ' + text;
  const auto filled = static_cast<std::size_t>(std::lround(std::clamp(share, 0.0, 1.0) * static_cast<double>(bar)));
  return fmt::format("{} [{}{}] {}", label, std::string(filled, '#'), std::string(bar - filled, '.'), text);
}

/// The first `width` characters of UTF-8 text.
std::string cut(std::string text, std::size_t width) {
  while (display_width(text) > width) {
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0U) == 0x80U) text.pop_back();
    if (!text.empty()) text.pop_back();
  }
  return text;
}

}  // namespace

ProgressBar::ProgressBar() : shown_(stderr_draws()) {}

ProgressBar::~ProgressBar() { clear(); }

void ProgressBar::draw(const std::string& label, double share, const std::string& text) {
  const auto now = std::chrono::steady_clock::now();
  if (!shown_ || (drawn_ && share < 1 && now - last_ < std::chrono::milliseconds(100))) return;
  const std::size_t width = terminal_width() - 1;
  print_error("\r{}\033[K", cut(line_of(label, share, text, width), width));
  std::fflush(stderr);
  drawn_ = true;
  last_ = now;
}

void ProgressBar::clear() {
  if (!drawn_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  drawn_ = false;
}

std::function<void(int)> tuning_progress(ProgressBar& bar) {
  return [&bar, announced = false](int done) mutable {
    if (!announced) {
      bar.clear();
      print_out("tuning      timing primitives on this machine first; --no-tune skips this\n");
      std::fflush(stdout);
      announced = true;
    }
    bar.draw("tuning", -1, fmt::format("{} primitives chosen", done));
  };
}

std::function<void(std::int64_t)> count_progress(ProgressBar& bar, std::string label, std::int64_t total) {
  return [&bar, label = std::move(label), total](std::int64_t done) {
    const double share = static_cast<double>(done) / static_cast<double>(std::max<std::int64_t>(total, 1));
    bar.draw(label, share, fmt::format("{}/{} images", grouped(done), grouped(total)));
  };
}

}  // namespace facet::app
