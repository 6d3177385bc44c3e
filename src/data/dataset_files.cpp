#include "data/dataset_files.h"

#include "core/error.h"
#include "data/byte_source.h"
#include "data/row_reader.h"
#include "files/file_io.h"
#include "files/hashes.h"

namespace nibble {
namespace {

namespace fs = std::filesystem;

void add_folder(const fs::path& folder, size_t entry, std::vector<DataFile>& files,
                const std::function<void(const std::string&)>& note) {
  const size_t before = files.size();
  std::string ignored;
  for (const std::string& name : list_directory(folder)) {
    if (name.starts_with('.')) continue;
    const fs::path path = folder / name;
    if (is_foreign_data_file(path))
      fail(ErrorKind::bad_input,
           "{}: Nibble does not read {} files; convert it to JSONL, or move it out of the folder",
           path.string(), path.extension().string());
    std::error_code error;
    if (is_data_file(path) && fs::is_regular_file(path, error)) {
      files.push_back({path, entry});
    } else {
      ignored += (ignored.empty() ? "" : ", ") + name;
    }
  }
  if (files.size() == before)
    fail(ErrorKind::bad_input,
         "dataset: {}: the folder holds no .jsonl, .json, .csv, .tsv or .txt file",
         folder.string());
  if (!ignored.empty() && note)
    note(fmt::format("{}: no data files, not read: {}", folder.string(), ignored));
}

}  // namespace

std::vector<DataFile> find_data_files(const std::vector<std::string>& paths,
                                      const std::function<void(const std::string&)>& note) {
  std::vector<DataFile> files;
  for (size_t entry = 0; entry < paths.size(); ++entry) {
    const fs::path path = paths[entry];
    std::error_code error;
    if (fs::is_directory(path, error)) {
      add_folder(path, entry, files, note);
    } else if (fs::exists(path, error)) {
      files.push_back({path, entry});
    } else {
      fail(ErrorKind::bad_input, "dataset: {}: no such file", path.string());
    }
  }
  if (files.empty()) fail(ErrorKind::usage, "dataset: no file is given");
  return files;
}

HashedFile hash_file(const DataFile& file) {
  ByteSource source = ByteSource::open(file.path);
  Sha256 hash;
  for (std::string_view bytes = source.peek(); !bytes.empty(); bytes = source.peek()) {
    hash.update(as_bytes(bytes));
    source.skip(bytes.size());
  }
  source.check_unchanged();
  return {file.path, file.entry, hash.hex(), source.stamp()};
}

}  // namespace nibble
