#include "transformer/tensor_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>

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
  const auto place = [&](int64_t reader) {
    return buffer_.get() + (source_.synthetic ? 0 : static_cast<size_t>(reader) * piece_bytes);
  };
  const auto count_at = [&](int64_t begin) { return std::min(piece_elements, n - begin); };
  for (int64_t first = 0; first < n; first += readers * piece_elements) {
    const int64_t pieces = std::min(readers, ceil_div(n - first, piece_elements));
    std::array<int64_t, readers> bad;
    std::array<std::exception_ptr, readers> errors;
    bad.fill(-1);
#pragma omp parallel for schedule(static, 1) if (pieces > 1)
    for (int64_t i = 0; i < pieces; ++i) {
      if (source_.synthetic) continue;
      const int64_t begin = first + i * piece_elements, count = count_at(begin);
      try {
        dir().read(name, static_cast<uint64_t>(begin * width),
                   std::span(place(i), static_cast<size_t>(count * width)));
        bad[static_cast<size_t>(i)] = first_nonfinite(place(i), count, dtype);
      } catch (...) {
        errors[static_cast<size_t>(i)] = std::current_exception();
      }
    }
    for (int64_t i = 0; i < pieces; ++i) {
      const int64_t begin = first + i * piece_elements, count = count_at(begin);
      if (errors[static_cast<size_t>(i)]) std::rethrow_exception(errors[static_cast<size_t>(i)]);
      if (bad[static_cast<size_t>(i)] >= 0)
        fail(ErrorKind::bad_input,
             "{}: element {} is NaN or infinite; the file is damaged or the model diverged when it "
             "was made",
             name, begin + bad[static_cast<size_t>(i)]);
      done_ += static_cast<uint64_t>(count * width);
      if (progress_) progress_(done_, total_);
      take(begin, count, std::span(place(i), static_cast<size_t>(count * width)));
    }
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
