// What predict reads, and where its results go: checked as a whole before anything is done.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/datasets/dataset.h"

namespace nextgrad {

// Where an image comes from, and the name of its results: its own without suffix, after the folder
// it has within the one that was given.
struct Source {
  std::string name;
  std::string path;  // "" for an image of the data set
  std::int64_t index = 0;
};

// The images that are meant by files, folders (with their sub-folders, but without the results that
// lie in one) and patterns. Two of one name keep their suffixes. Throws InputError for what is not
// there.
std::vector<Source> sources_of(const std::vector<std::string>& inputs, const std::string& output);
// The first `count` of a data set.
std::vector<Source> sources_of(const Dataset& dataset, std::int64_t count);
// The file of an image, or what the data set calls it if it has none.
std::string called(const Source& source, const Dataset* dataset);

// The files of the results: one for each image and kind. A kind has a sub-folder if there are
// several.
class Results {
 public:
  enum class Existing { refused, skipped, replaced };
  // `suffix`: of the files' names.
  Results(std::string folder, std::vector<std::string> kinds, std::string suffix)
      : folder_(std::move(folder)), kinds_(std::move(kinds)), suffix_(std::move(suffix)) {}
  const std::vector<std::string>& kinds() const { return kinds_; }
  std::filesystem::path path(const std::string& kind, const std::string& name) const;

  Results(const Results&) = delete;
  Results& operator=(const Results&) = delete;
  ~Results();  // takes those folders away again into which nothing was put
  // Takes out the sources that have all their results, if that is what is to be done with them.
  // Throws InputError for results that exist otherwise, that are an input themselves, that would be
  // one file, one the folder of another, or outside the folder.
  void check(Existing existing, const Dataset* dataset, std::vector<Source>& sources) const;
  // Makes the folders.
  void make_folders(const std::vector<Source>& sources);

 private:
  void check_collisions(const Dataset* dataset, const std::vector<Source>& sources) const;

  std::filesystem::path folder_;
  std::vector<std::string> kinds_;
  std::string suffix_;
  std::vector<std::filesystem::path> made_;
};

}  // namespace nextgrad
