// iSAID's large pictures cut into patches as MMSegmentation's converter cuts them (its
// tools/dataset_converters/isaid.py): a picture smaller than a patch is padded right and below,
// with black and with ignored labels; painted labels become class indices.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace nextgrad {

struct IsaidPicture {
  std::string name;          // without folder and suffix
  std::string image, label;  // files; label empty: there is none
};

// The pictures of a split somewhere below root/SPLIT, sorted by name: NAME.png and, for train and
// val, NAME_instance_color_RGB.png. What lacks its partner is left out and reported in `problems`.
// Empty if there is no such folder. Throws InputError if it holds no picture.
std::vector<IsaidPicture> find_isaid_pictures(const std::string& root, const std::string& split,
                                              std::vector<std::string>& problems);

struct PatchOptions {
  std::int64_t size = 896, overlap = 384;
  std::string images, labels;  // folders, which exist, for the patches
  // Called before each row with the share of the work that is done, 0 to 1; true ends it early.
  std::function<bool(double)> step = {};
};

struct PatchCount {
  std::int64_t written = 0, kept = 0;  // files: new; there already, whole, and left alone
  std::int64_t unknown = 0;            // pixels painted in no class's colour, now ignored
  bool stopped = false;
};

// Cuts a picture and its label; holds `size` rows of them at most. Files that exist are not made
// again, and a picture that has all its patches is not read. Throws InputError: unreadable,
// damaged, sizes that differ, labels that are not painted in iSAID's colours.
PatchCount cut_isaid_picture(const IsaidPicture& picture, const PatchOptions& options);

}  // namespace nextgrad
