// Every published data set in small: its folders, names and encodings, a few odd-sized pictures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace nextgrad::testing {

// Writes the splits of a kind (all of dataset_kinds() but scenes; for "folder" the description is
// root/data.toml) in the layout in which its authors, or the usual conversion, leave it: train 4
// pictures, val 2, test 1 where there is one, of some 40 to 90 pixels a side. With what real
// archives bring along: hidden files, upper-case suffixes, lists with CRLF and blanks, files of
// other uses.
void make_miniature(const std::string& kind, const std::filesystem::path& root);

// The values a miniature's label files hold, as in the file, among them the highest class.
std::vector<std::uint8_t> miniature_values(const std::string& kind);

}  // namespace nextgrad::testing
