// Progress on one line that is rewritten in place on a terminal; plain lines, now and then,
// elsewhere.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>

namespace nextgrad {

// Writes and flushes `text`. Where the stream has gone (a closed terminal, a full disk) it is
// pointed at nothing, and the work goes on: what is said is never worth a run.
void say(std::FILE* stream, const std::string& text);

// Seconds since construction.
class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

class ProgressLine {
 public:
  // plain_interval 0: nothing at all unless it is a terminal. Of several processes root shows plain
  // lines.
  explicit ProgressLine(std::FILE* stream, double plain_interval = 10.0);
  ~ProgressLine();  // leaves the line standing
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // Shows `line`, made printable; without `force` at most ten times a second (a terminal) or once
  // per plain_interval seconds (a file).
  void update(const std::string& line, bool force = false);
  // A line that stays, above the progress.
  void message(const std::string& line);
  void finish();

 private:
  std::FILE* stream_;
  bool quiet_, terminal_, standing_ = false, first_ = true;
  double interval_;
  Stopwatch since_;  // the last update
};

std::string format_decimals(double value, int digits);  // "-0.00" reads "0.00"
std::string format_duration(double seconds);            // "0:07", "1:02:33"
std::string format_bytes(double bytes);                 // "812 MB", "1.4 GB", powers of 1000
std::string format_count(double value);                 // "4.26 M", "6.6 G"
std::size_t peak_resident_bytes();                      // of this process, by the system

}  // namespace nextgrad
