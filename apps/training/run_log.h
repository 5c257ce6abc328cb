// log.jsonl of a run: one JSON object per line, for a training iteration
//   {"iteration", "loss", "lr", "grad_norm", "images_per_second", "wait_share", "peak_bytes"}
// for a validation
//   {"iteration", "validation": {"mIoU", "mAcc", "aAcc", "pixels", "classes", "confusion"}}
// or for a damaged picture that was left out
//   {"iteration", "skipped": name, "why": message}.
#pragma once

#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace nextgrad {

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
  RunLog(std::string path, const std::optional<Mark>& kept);
  ~RunLog();
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  void add(
      const nlohmann::json& record);  // throws Error that names the file when it cannot be written
  // Brings what was added to the disk.
  Mark mark();
  const std::vector<nlohmann::json>& records() const { return records_; }

 private:
  std::string path_;
  std::FILE* file_ = nullptr;
  Mark mark_;
  std::vector<nlohmann::json> records_;
};

}  // namespace nextgrad
