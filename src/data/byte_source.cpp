#include "data/byte_source.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace nibble {

ByteSource ByteSource::open(const std::filesystem::path& path) {
  ByteSource source;
  source.name_ = path.string();
  source.file_ = open_for_reading(path);
  source.stamp_ = stamp_of(source.file_, source.name_);
  return source;
}

ByteSource ByteSource::of(std::string bytes, std::string name) {
  ByteSource source;
  source.name_ = std::move(name);
  source.buffer_ = std::move(bytes);
  source.stamp_.size = source.buffer_.size();
  return source;
}

std::string_view ByteSource::peek() {
  if (used_ == buffer_.size() && file_.is_open()) {
    buffer_offset_ += buffer_.size();
    used_ = 0;
    buffer_.resize(std::min<uint64_t>(buffer_bytes, stamp_.size - buffer_offset_));
    read_exactly(file_, buffer_offset_, std::as_writable_bytes(std::span(buffer_)), name_);
  }
  return std::string_view(buffer_).substr(used_);
}

void ByteSource::check_unchanged() const {
  if (file_.is_open() && stamp_of(file_, name_) != stamp_)
    fail(ErrorKind::bad_input, "{}: was changed while it was read; start again when it is complete",
         name_);
}

}  // namespace nibble
