#include "apps/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>

namespace nextgrad {

ProgressLine::ProgressLine(std::FILE* stream, double plain_interval)
    : stream_(stream),
      terminal_(isatty(fileno(stream)) != 0),
      interval_(terminal_ ? 0.1 : plain_interval),
      last_(std::chrono::steady_clock::now()) {}

ProgressLine::~ProgressLine() {
  finish();
}

void ProgressLine::update(const std::string& line, bool force) {
  if (!terminal_ && interval_ <= 0) return;
  const auto now = std::chrono::steady_clock::now();
  if (!force && !first_ && std::chrono::duration<double>(now - last_).count() < interval_) return;
  first_ = false;
  last_ = now;
  if (!terminal_) {
    fmt::print(stream_, "{}\n", line);
  } else {
    winsize size{};
    const bool known = ioctl(fileno(stream_), TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    fmt::print(stream_, "\r\x1b[2K{}", line.substr(0, known ? size.ws_col - 1u : 79u));
    standing_ = true;
  }
  std::fflush(stream_);
}

void ProgressLine::message(const std::string& line) {
  if (standing_) fmt::print(stream_, "\r\x1b[2K");
  standing_ = false;
  fmt::print(stream_, "{}\n", line);
  std::fflush(stream_);
}

void ProgressLine::finish() {
  if (standing_) fmt::print(stream_, "\n");
  standing_ = false;
  std::fflush(stream_);
}

std::string format_duration(double seconds) {
  const auto s = std::isfinite(seconds) ? static_cast<long long>(std::max(0.0, seconds) + 0.5) : 0;
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

std::string format_bytes(double bytes) {
  if (bytes >= 1e9) return fmt::format("{:.2f} GB", bytes / 1e9);
  if (bytes >= 1e6) return fmt::format("{:.0f} MB", bytes / 1e6);
  return fmt::format("{:.0f} kB", bytes / 1e3);
}

std::string format_count(double value) {
  if (value >= 1e9) return fmt::format("{:.2f} G", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.2f} M", value / 1e6);
  if (value >= 1e3) return fmt::format("{:.2f} k", value / 1e3);
  return fmt::format("{:.0f}", value);
}

std::size_t peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

}  // namespace nextgrad
