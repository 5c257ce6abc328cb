// log.jsonl of a run: one JSON object per line, for a training iteration
//   {"iteration", "loss", "lr", "grad_norm", "images_per_second", "wait_share", "peak_bytes"}
// and of several processes, for the seconds that root waited for sums and who was slowest,
//   {"sum_share", "slowest_rank"}; with a validation {"iteration", "rank_images_per_second": [...]}
// for a validation
//   {"iteration", "validation": {"mIoU", "mAcc", "aAcc", "pixels", "classes", "confusion"}}
// or for a damaged picture that was left out
//   {"iteration", "skipped": name, "why": message}.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "apps/report/progress.h"
#include "data/files/file.h"
#include "tensor/error.h"

namespace nextgrad {

// Its lines; what is no record is passed over.
inline std::vector<nlohmann::json> log_records(const std::string& text) {
  std::vector<nlohmann::json> records;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    nlohmann::json record = nlohmann::json::parse(line, nullptr, false);
    if (record.is_object()) records.push_back(std::move(record));
  }
  return records;
}

class RunLog {
 public:
  // How much of the file belongs to a state, and its sum.
  struct Mark {
    std::uint64_t bytes = 0;
    std::uint32_t crc32 = 0;
  };
  // Keeps what belongs to the state that training goes on from; the rest is written again. Nothing
  // of it without `kept`. Throws InputError if those bytes are not what they were, and says so on
  // the terminal if the file is missing.
  RunLog(std::string path, const std::optional<Mark>& kept) : path_(std::move(path)) {
    std::string text;
    if (kept && kept->bytes > 0 && !std::filesystem::exists(path_)) {
      say(stdout, path_ + ": is missing; the report begins where the run goes on\n");
    } else if (kept) {
      const auto bytes = read_file(path_);
      text.assign(bytes.begin(), bytes.end());
      text.resize(std::min<std::size_t>(text.size(), kept->bytes));
      if (text.size() < kept->bytes || crc32_of(text) != kept->crc32)
        fail_input("{}: is not what the run wrote; put it back, or remove it to go on without it",
                   path_);
    }
    records_ = log_records(text);
    mark_ = {text.size(), crc32_of(text)};
    write_file_atomic(path_, text);
    file_ = std::fopen(path_.c_str(), "abe");
    if (file_ == nullptr)
      fail_input("{}: {}; choose a folder you may write", path_, strerror(errno));
  }
  ~RunLog() {
    if (file_ != nullptr) std::fclose(file_);
  }
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  // Throws Error that names the file when it cannot be written.
  void add(const nlohmann::json& record) {
    const std::string line =
        record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fflush(file_) != 0)
      fail("{}: {}; free some space, then go on with --resume", path_, strerror(errno));
    mark_ = {mark_.bytes + line.size(), crc32_of(line, mark_.crc32)};
    records_.push_back(record);
  }
  // Brings what was added to the disk.
  Mark mark() {
    if (fsync(fileno(file_)) != 0 && errno != EINVAL)
      fail("{}: {}; free some space, then go on with --resume", path_, strerror(errno));
    return mark_;
  }
  const std::vector<nlohmann::json>& records() const { return records_; }

 private:
  std::string path_;
  std::FILE* file_ = nullptr;
  Mark mark_;
  std::vector<nlohmann::json> records_;
};

}  // namespace nextgrad
