#include "apps/training/run_log.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "apps/report/progress.h"
#include "data/files/file.h"
#include "tensor/error.h"

namespace nextgrad {

using nlohmann::json;

RunLog::RunLog(std::string path, const std::optional<Mark>& kept) : path_(std::move(path)) {
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
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    json record = json::parse(line, nullptr, false);
    if (record.is_object()) records_.push_back(std::move(record));
  }
  mark_ = {text.size(), crc32_of(text)};
  write_file_atomic(path_, text);
  file_ = std::fopen(path_.c_str(), "abe");
  if (file_ == nullptr) fail_input("{}: {}; choose a folder you may write", path_, strerror(errno));
}

RunLog::~RunLog() {
  if (file_ != nullptr) std::fclose(file_);
}

void RunLog::add(const json& record) {
  const std::string line = record.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fflush(file_) != 0)
    fail("{}: {}; free some space, then go on with --resume", path_, strerror(errno));
  mark_ = {mark_.bytes + line.size(), crc32_of(line, mark_.crc32)};
  records_.push_back(record);
}

RunLog::Mark RunLog::mark() {
  if (fsync(fileno(file_)) != 0 && errno != EINVAL)
    fail("{}: {}; free some space, then go on with --resume", path_, strerror(errno));
  return mark_;
}

}  // namespace nextgrad
