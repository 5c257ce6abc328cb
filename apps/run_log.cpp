#include "apps/run_log.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "data/file.h"
#include "tensor/error.h"

namespace nextgrad {

using nlohmann::json;

RunLog::RunLog(std::string path, std::int64_t iteration, std::int64_t validated)
    : path_(std::move(path)) {
  std::string kept;
  if (std::filesystem::exists(path_)) {
    const auto bytes = read_file(path_);
    std::istringstream lines(std::string(bytes.begin(), bytes.end()));
    for (std::string line; std::getline(lines, line);) {
      // A line cut short by a crash is no JSON: it and what follows will be written again.
      json record = json::parse(line, nullptr, false);
      if (!record.is_object() || !record["iteration"].is_number_integer()) break;
      const auto last = record.contains("validation") ? validated : iteration;
      if (record["iteration"].get<std::int64_t>() > last) continue;
      kept += line + "\n";
      records_.push_back(std::move(record));
    }
  }
  write_file_atomic(path_, kept);
  file_ = std::fopen(path_.c_str(), "ab");
  if (file_ == nullptr) fail_input("{}: {}; choose a folder you may write", path_, strerror(errno));
}

RunLog::~RunLog() {
  if (file_ != nullptr) std::fclose(file_);
}

void RunLog::add(json record) {
  const std::string line = record.dump() + "\n";
  if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fflush(file_) != 0)
    fail("{}: {}; free some space, then go on with --resume", path_, strerror(errno));
  records_.push_back(std::move(record));
}

}  // namespace nextgrad
