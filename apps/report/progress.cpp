#include "apps/report/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "tensor/communicator.h"
#include "tensor/error.h"

namespace nextgrad {

void say(std::FILE* stream, const std::string& text) {
  const bool said =
      std::fwrite(text.data(), 1, text.size(), stream) == text.size() && std::fflush(stream) == 0;
  if (!said && std::freopen("/dev/null", "w", stream) == nullptr) std::clearerr(stream);
}

ProgressLine::ProgressLine(std::FILE* stream, double plain_interval)
    : stream_(stream),
      quiet_(!world().is_root()),
      // mpirun gives its processes terminals wherever it prints itself.
      terminal_(isatty(fileno(stream)) != 0 && world().size() == 1),
      interval_(terminal_            ? 0.1
                : world().size() > 1 ? 10
                                     : plain_interval) {}

ProgressLine::~ProgressLine() {
  finish();
}

void ProgressLine::update(const std::string& line, bool force) {
  if (quiet_ || (!terminal_ && interval_ <= 0)) return;
  if (!force && !first_ && since_.seconds() < interval_) return;
  first_ = false;
  since_ = {};
  if (!terminal_) return say(stream_, printable(line) + "\n");
  winsize size{};
  const bool known = ioctl(fileno(stream_), TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
  say(stream_, fmt::format("\r\x1b[2K{:.{}}", printable(line), known ? size.ws_col - 1 : 79));
  standing_ = true;
}

void ProgressLine::message(const std::string& line) {
  if (quiet_) return;
  say(stream_, fmt::format("{}{}\n", standing_ ? "\r\x1b[2K" : "", line));
  standing_ = false;
}

void ProgressLine::finish() {
  if (standing_) say(stream_, "\n");
  standing_ = false;
}

std::string format_decimals(double value, int digits) {
  std::string text = fmt::format("{:.{}f}", value, digits);
  const bool zero = text.find_first_not_of("-0.") == std::string::npos;
  return zero && text[0] == '-' ? text.substr(1) : text;
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
