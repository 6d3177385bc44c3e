#include "transformer/tensor_reader.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <future>

#include "core/ceil_div.h"
#include "core/rng.h"

namespace nibble {
namespace {

// Index of the first NaN or infinity, or -1. All exponent bits set, read without aligned access; a
// run at a time without branches, which compilers turn into vectors.
template <typename Word>
int64_t first_nonfinite(const std::byte* bytes, int64_t count, Word exponent) {
  constexpr int64_t run = 4096;
  const auto is_bad = [&](int64_t i) {
    Word word;
    std::memcpy(&word, bytes + i * static_cast<int64_t>(sizeof(Word)), sizeof(Word));
    return (word & exponent) == exponent;
  };
  for (int64_t begin = 0; begin < count; begin += run) {
    const int64_t end = std::min(begin + run, count);
    Word any = 0;
    for (int64_t i = begin; i < end; ++i) any = static_cast<Word>(any | Word{is_bad(i)});
    for (int64_t i = begin; any != 0 && i < end; ++i)
      if (is_bad(i)) return i;
  }
  return -1;
}

int64_t first_nonfinite(const std::byte* bytes, int64_t count, DType dtype) {
  switch (dtype) {
    case DType::f32:
      return first_nonfinite<uint32_t>(bytes, count, 0x7f800000u);
    case DType::bf16:
      return first_nonfinite<uint16_t>(bytes, count, 0x7f80u);
    case DType::f16:
      return first_nonfinite<uint16_t>(bytes, count, 0x7c00u);
    default:
      return -1;
  }
}

}  // namespace

TensorReader::TensorReader(const ModelSource& source, const LoadProgress& progress)
    : source_(source), progress_(progress) {
  if (source.dir) total_ = source.dir->total_bytes();
}

// The same random piece for every tensor: what it costs to compute with is all that is asked.
void TensorReader::begin() {
  if (!source_.synthetic) return void(source_.weights());
  RandomSequence random(0, 0);
  auto* values = reinterpret_cast<bf16*>(buffer_.get());
  for (int64_t i = 0; i < piece_elements; ++i) {
    float sum = -2;  // four uniforms: nearly normal, of deviation 0.58
    for (int j = 0; j < 4; ++j) sum += uniform_float(random.next());
    values[i] = to_bf16(0.04f * sum);
  }
}

// "[4096, 1024]" as a shape; a vector is stored with one dimension.
DType TensorReader::use(const std::string& name, int64_t rows, int64_t cols) {
  used_.insert(name);
  if (!source_.dir) return source_.spec.dtype;
  const TensorInfo info = dir().info(name);
  const auto r = static_cast<uint64_t>(rows);
  const auto c = static_cast<uint64_t>(cols);
  const bool ok = rows == 1 ? (info.shape == std::vector<uint64_t>{c})
                            : (info.shape == std::vector<uint64_t>{r, c});
  if (!ok)
    fail(ErrorKind::bad_input,
         "{}: shape is [{}], expected [{}] from config.json; do the weights belong to this config?",
         name, fmt::join(info.shape, ", "),
         rows == 1 ? std::to_string(cols) : fmt::format("{}, {}", rows, cols));
  return info.dtype;
}

void TensorReader::use_bytes(const std::string& name, int64_t bytes, DType dtype) {
  const TensorInfo info = dir().info(name);
  if (static_cast<int64_t>(info.bytes) != bytes || (info.dtype != dtype && dtype != DType::u8))
    fail(ErrorKind::bad_input, "{}: {} bytes of {}, expected {} bytes of {}", name, info.bytes,
         name_of(info.dtype), bytes, name_of(dtype));
  used_.insert(name);
}

void TensorReader::read(const std::string& name, DType dtype, int64_t n, const TakePiece& take) {
  const auto width = static_cast<int64_t>(size_of(dtype));
  const int64_t pieces = ceil_div(n, piece_elements);
  const auto bytes_of = [&](int64_t piece) {
    const auto place = source_.synthetic ? 0 : static_cast<size_t>(piece % readers);
    const int64_t count = std::min(piece_elements, n - piece * piece_elements);
    return std::span(buffer_.get() + place * piece_bytes, static_cast<size_t>(count * width));
  };
  // Returns the index in the piece of what is not finite, or -1.
  const auto read_piece = [&](int64_t piece) -> int64_t {
    if (source_.synthetic) return -1;
    const std::span<std::byte> bytes = bytes_of(piece);
    dir().read(name, static_cast<uint64_t>(piece * piece_elements * width), bytes);
    return first_nonfinite(bytes.data(), std::ssize(bytes) / width, dtype);
  };
  // The next pieces are read while one is taken. A single one is not worth a thread.
  std::deque<std::future<int64_t>> reading;
  const auto begin_reading = [&](int64_t piece) {
    const bool alone = pieces == 1 || source_.synthetic;
    reading.push_back(
        std::async(alone ? std::launch::deferred : std::launch::async, read_piece, piece));
  };
  for (int64_t piece = 0; piece < std::min(readers, pieces); ++piece) begin_reading(piece);
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t bad = reading.front().get();
    reading.pop_front();
    const int64_t begin = piece * piece_elements;
    if (bad >= 0)
      fail(ErrorKind::bad_input,
           "{}: element {} is NaN or infinite; the file is damaged or the model diverged when it "
           "was made",
           name, begin + bad);
    const std::span<const std::byte> bytes = bytes_of(piece);
    done_ += bytes.size();
    if (progress_) progress_(done_, total_);
    take(begin, std::ssize(bytes) / width, bytes);
    if (piece + readers < pieces) begin_reading(piece + readers);
  }
}

std::string TensorReader::read_text(const std::string& name, uint64_t most) {
  const TensorInfo info = dir().info(name);
  if (info.bytes > most)
    fail(ErrorKind::bad_input, "{}: {} bytes, expected at most {}", name, info.bytes, most);
  std::string text(info.bytes, '\0');
  dir().read(name, 0, std::as_writable_bytes(std::span(text)));
  used_.insert(name);
  return text;
}

void TensorReader::check_tied(const std::string& head, const std::string& embedding, bool filling) {
  if (!source_.dir || !dir().has(head)) return;
  used_.insert(head);
  if (!filling) return;
  const TensorInfo a = dir().info(head), b = dir().info(embedding);
  bool equal = a.dtype == b.dtype && a.bytes == b.bytes;
  constexpr size_t piece = piece_elements * sizeof(float);
  const auto other = std::make_unique_for_overwrite<std::byte[]>(piece);
  for (uint64_t begin = 0; equal && begin < a.bytes; begin += piece) {
    const size_t count = std::min<uint64_t>(piece, a.bytes - begin);
    dir().read(head, begin, std::span(buffer_.get(), count));
    dir().read(embedding, begin, std::span(other.get(), count));
    equal = std::memcmp(buffer_.get(), other.get(), count) == 0;
  }
  if (!equal)
    fail(ErrorKind::bad_input,
         "config.json: tie_word_embeddings is true, but {} differs from {}; set it to false if the "
         "head was trained apart",
         head, embedding);
}

void TensorReader::check_nothing_left() const {
  if (!source_.dir) return;
  for (const std::string& name : dir().names())
    if (!used_.contains(name) && !name.ends_with("rotary_emb.inv_freq"))
      fail(ErrorKind::bad_input,
           "{}: this tensor has no place in a {} model; is model_type in config.json right?", name,
           source_.spec.model_type);
}

}  // namespace nibble
