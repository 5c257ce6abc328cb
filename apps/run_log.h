// log.jsonl of a run: one JSON object per line, for a training iteration
//   {"iteration", "loss", "lr", "grad_norm", "images_per_second", "wait_share", "peak_bytes"}
// or for a validation
//   {"iteration", "validation": {"mIoU", "mAcc", "aAcc", "pixels", "classes", "confusion"}}.
#pragma once

#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace nextgrad {

class RunLog {
 public:
  // Keeps the whole lines of an existing file that training wrote up to `iteration` (inclusive) and
  // validation up to `validated`; a resumed run writes the later ones again.
  RunLog(std::string path, std::int64_t iteration, std::int64_t validated);
  ~RunLog();
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  void add(nlohmann::json record);  // throws Error that names the file when it cannot be written
  const std::vector<nlohmann::json>& records() const { return records_; }

 private:
  std::string path_;
  std::FILE* file_ = nullptr;
  std::vector<nlohmann::json> records_;
};

}  // namespace nextgrad
