// Which files a dataset is made of, and their hashes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "files/file_io.h"

namespace nibble {

struct DataFile {
  std::filesystem::path path;
  size_t entry = 0;  // which of the paths given named it
};

// Each path is a data file (row_reader.h) or a folder, which stands for its data files in byte
// order of their names. Hidden files of a folder are not looked at; others that are no data files
// are told to `note`. Throws bad_input for a path that is not there, a folder without data files,
// and one that holds data in a format that Nibble does not read.
std::vector<DataFile> find_data_files(const std::vector<std::string>& paths,
                                      const std::function<void(const std::string&)>& note = {});

struct HashedFile {
  std::filesystem::path path;
  size_t entry = 0;
  std::string sha256;  // lower-case hex
  FileStamp stamp;     // what was hashed
};
HashedFile hash_file(const DataFile& file);

}  // namespace nibble
