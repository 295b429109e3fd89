#include "progress_bar.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "columns.h"
#include "figures.h"
#include "print.h"

namespace facet::app {
namespace {

constexpr std::size_t widest_bar = 20;
constexpr std::size_t narrowest_bar = 4;

bool stderr_draws() {
  const char* terminal = std::getenv("TERM");
  return isatty(STDERR_FILENO) == 1 && terminal != nullptr && std::string_view(terminal) != "dumb";
}

std::size_t terminal_width() {
  winsize size{};
  const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

/// The bar takes what its texts leave of the line; where that is too little there is none.
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
  return [&bar, said = false](int done) mutable {
    if (!said) {
      bar.clear();
      print_out("tuning      timing primitives on this machine first; --no-tune leaves that out\n");
      std::fflush(stdout);
      said = true;
    }
    bar.draw("tuning", -1, fmt::format("{} choices made", done));
  };
}

std::function<void(std::int64_t)> count_progress(ProgressBar& bar, std::string label, std::int64_t total) {
  return [&bar, label = std::move(label), total](std::int64_t done) {
    const double share = static_cast<double>(done) / static_cast<double>(std::max<std::int64_t>(total, 1));
    bar.draw(label, share, fmt::format("{}/{} images", grouped(done), grouped(total)));
  };
}

}  // namespace facet::app
