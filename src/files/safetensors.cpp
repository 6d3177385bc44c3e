#include "files/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <memory>
#include <numeric>
#include <tuple>
#include <utility>

#include "core/checked.h"
#include "core/error.h"
#include "files/json_scanner.h"
#include "files/safetensors_rules.h"

namespace nibble {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

namespace safetensors {
namespace {

struct DTypeRow {
  std::string_view name;
  uint64_t bits;
};
constexpr std::array<DTypeRow, 22> dtypes = {{
    {"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
    {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
    {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
    {"I64", 64},        {"U64", 64},
}};

std::string problem_with_name(std::string_view name) {
  if (name.empty()) return "has an empty name";
  if (name.size() > max_name_bytes) {
    return fmt::format("has a name of {} bytes, expected at most {}", name.size(), max_name_bytes);
  }
  for (size_t i = 0; i < name.size(); ++i) {
    const auto byte = static_cast<unsigned char>(name[i]);
    const bool c1 = byte == 0xC2 && i + 1 < name.size() &&
                    static_cast<unsigned char>(name[i + 1]) < 0xA0;  // U+0080..U+009F
    if (byte < 0x20 || byte == 0x7F || c1) return "has a control character in its name";
  }
  return "";
}

}  // namespace

std::optional<size_t> dtype_index(std::string_view name) {
  for (size_t i = 0; i < dtypes.size(); ++i) {
    if (dtypes[i].name == name) return i;
  }
  return std::nullopt;
}

std::string problem_with(const SafetensorsInfo& tensor, uint64_t& bytes) {
  if (std::string problem = problem_with_name(tensor.name); !problem.empty()) return problem;
  const auto dtype = dtype_index(tensor.dtype);
  if (!dtype) return "has dtype " + printable(tensor.dtype) + ", which the format does not have";
  if (tensor.shape.size() > max_rank) {
    return fmt::format("has {} dimensions, expected at most {}", tensor.shape.size(), max_rank);
  }
  for (const uint64_t dim : tensor.shape) {
    if (dim > max_dimension) {
      return fmt::format("has dimension {}, expected at most {}", dim, max_dimension);
    }
  }
  const Checked bits = checked_product(tensor.shape) * dtypes[*dtype].bits;
  if (!bits.ok()) return "has a shape whose size overflows 64 bits";
  if (bits.value() % 8 != 0) {
    return fmt::format("has {} bits of {}, which is no whole number of bytes", bits.value(),
                       tensor.dtype);
  }
  bytes = bits.value() / 8;
  return "";
}

}  // namespace safetensors

namespace {

using Event = JsonScanner::Event;
namespace rules = safetensors;

constexpr std::array<std::pair<std::string_view, DType>, 5> known_dtypes = {{
    {"F32", DType::f32},
    {"F16", DType::f16},
    {"BF16", DType::bf16},
    {"U8", DType::u8},
    {"I32", DType::i32},
}};

// What a file that is no safetensors file seems to be, from its first bytes; "" if no idea.
std::string_view guess(std::string_view first) {
  if (first.starts_with("version ")) {
    return "; it is a Git LFS pointer: fetch the real file with `git lfs pull`";
  }
  if (first.starts_with("<")) return "; it looks like an HTML page: download the file again";
  if (first.starts_with("PK\x03\x04")) {
    return "; it is a zip archive, as torch.save writes: convert the model to safetensors";
  }
  if (first.starts_with("\x80")) return "; it looks like a Python pickle: convert the model";
  if (first.starts_with("GGUF")) return "; it is a GGUF file: use the safetensors model";
  return "";
}

// Reads one tensor, whose name is the key just read: exactly dtype, shape and data_offsets, in
// any order.
SafetensorsInfo read_tensor(JsonScanner& scanner) {
  if (scanner.text().size() > rules::max_name_bytes) {
    scanner.refuse(fmt::format("a tensor name of {} bytes, expected at most {}",
                               scanner.text().size(), rules::max_name_bytes));
  }
  SafetensorsInfo tensor;
  tensor.name = std::string(scanner.text());
  const auto refuse = [&](const std::string& problem) {
    scanner.refuse("tensor " + printable(tensor.name) + " " + problem);
  };
  const auto require = [&](Event got, Event expected, const char* what) {
    if (got != expected) refuse(std::string("has ") + what);
  };
  const auto read_numbers = [&](std::vector<uint64_t>& out, size_t most, const char* what) {
    require(scanner.next(), Event::begin_array, what);
    for (Event event = scanner.next(); event != Event::end_array; event = scanner.next()) {
      require(event, Event::natural, what);
      if (out.size() == most) refuse(std::string("has ") + what);
      out.push_back(scanner.natural());
    }
  };

  require(scanner.next(), Event::begin_object, "a value that is not an object");
  bool has_dtype = false, has_shape = false, has_offsets = false;
  std::vector<uint64_t> offsets;
  for (Event event = scanner.next(); event != Event::end_object; event = scanner.next()) {
    if (scanner.text() == "dtype" && !std::exchange(has_dtype, true)) {
      require(scanner.next(), Event::string, "a dtype that is not a string");
      if (!rules::dtype_index(scanner.text())) {
        refuse("has dtype " + printable(scanner.text()) + ", which the format does not have");
      }
      tensor.dtype = std::string(scanner.text());
    } else if (scanner.text() == "shape" && !std::exchange(has_shape, true)) {
      read_numbers(tensor.shape, rules::max_rank,
                   "a shape that is not an array of at most 8 non-negative integers");
    } else if (scanner.text() == "data_offsets" && !std::exchange(has_offsets, true)) {
      read_numbers(offsets, 2, "data_offsets that are not two non-negative integers");
    } else {
      refuse("has an unknown or repeated field " + printable(scanner.text()));
    }
  }
  if (!has_dtype) refuse("has no dtype");
  if (!has_shape) refuse("has no shape");
  if (offsets.size() != 2) refuse("has no data_offsets, or not two of them");
  uint64_t bytes = 0;
  if (std::string problem = rules::problem_with(tensor, bytes); !problem.empty()) refuse(problem);
  std::tie(tensor.begin, tensor.end) = std::tie(offsets[0], offsets[1]);
  if (tensor.begin > tensor.end || tensor.end - tensor.begin != bytes) {
    refuse(fmt::format("has data_offsets [{}, {}], but dtype and shape need {} bytes", tensor.begin,
                       tensor.end, bytes));
  }
  return tensor;
}

void read_metadata(JsonScanner& scanner, std::map<std::string, std::string>& metadata) {
  if (scanner.next() != Event::begin_object) scanner.refuse("__metadata__ is not an object");
  for (Event event = scanner.next(); event != Event::end_object; event = scanner.next()) {
    const auto [entry, added] = metadata.emplace(std::string(scanner.text()), "");
    if (!added) scanner.refuse("__metadata__ has the key " + printable(entry->first) + " twice");
    if (metadata.size() > rules::max_metadata_entries) {
      scanner.refuse(
          fmt::format("__metadata__ has more than {} entries", rules::max_metadata_entries));
    }
    if (scanner.next() != Event::string) {
      scanner.refuse("__metadata__: the value of " + printable(entry->first) + " is not a string");
    }
    entry->second = std::string(scanner.text());
  }
}

}  // namespace

std::optional<DType> dtype_of_safetensors(std::string_view name) {
  for (const auto& [known, type] : known_dtypes) {
    if (known == name) return type;
  }
  return std::nullopt;
}

std::string_view safetensors_name_of(DType type) {
  for (const auto& [name, known] : known_dtypes) {
    if (known == type) return name;
  }
  fail(ErrorKind::internal, "safetensors: no name for dtype {}", name_of(type));
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : SafetensorsFile(open_for_reading(path), path.string()) {}

SafetensorsFile::SafetensorsFile(FileDescriptor file, std::string who)
    : file_(std::move(file)), who_(std::move(who)), stamp_(stamp_of(file_, who_)) {
  if (stamp_.size < 8) {
    fail(ErrorKind::bad_input, "{}: got {} bytes, expected at least 8; incomplete download?", who_,
         stamp_.size);
  }
  std::array<char, 8> first;
  read_exactly(file_, 0, std::as_writable_bytes(std::span(first)), who_);
  const auto header_bytes = std::bit_cast<uint64_t>(first);
  if (header_bytes > rules::max_header_bytes) {
    fail(ErrorKind::bad_input, "{}: got a header of {} bytes, expected at most {}{}", who_,
         header_bytes, rules::max_header_bytes, guess({first.data(), first.size()}));
  }
  if (header_bytes > stamp_.size - 8) {
    fail(ErrorKind::bad_input,
         "{}: the header is {} bytes, but only {} follow; incomplete download?", who_, header_bytes,
         stamp_.size - 8);
  }
  data_start_ = 8 + header_bytes;
  const auto header = std::make_unique_for_overwrite<char[]>(header_bytes);
  read_exactly(file_, 8, std::as_writable_bytes(std::span(header.get(), header_bytes)), who_);
  parse_header({header.get(), header_bytes});
  check_layout();
}

void SafetensorsFile::parse_header(std::string_view header) {
  JsonScanner scanner(header, who_ + ": header",
                      {.max_bytes = rules::max_header_bytes,
                       .max_depth = 8,
                       .max_number_chars = rules::max_number_chars,
                       .max_values = std::numeric_limits<uint64_t>::max()});
  constexpr size_t shortest_entry = 51;  // "a":{"dtype":"U8","shape":[],"data_offsets":[0,0]}
  tensors_.reserve(std::min(rules::max_tensors, header.size() / shortest_entry));
  if (scanner.next() != Event::begin_object) scanner.refuse("the header is not a JSON object");
  bool has_metadata = false;
  for (Event event = scanner.next(); event != Event::end_object; event = scanner.next()) {
    if (scanner.text() == "__metadata__") {
      if (std::exchange(has_metadata, true)) scanner.refuse("__metadata__ is there twice");
      read_metadata(scanner, metadata_);
      continue;
    }
    if (tensors_.size() == rules::max_tensors) {
      scanner.refuse(fmt::format("more than {} tensors", rules::max_tensors));
    }
    tensors_.push_back(read_tensor(scanner));
  }
  if (scanner.next() != Event::end) scanner.refuse("expected the end of the header");
  if (header.front() != '{') {
    warnings_.push_back(who_ + ": whitespace before the header's '{' is against the format");
  }

  std::sort(tensors_.begin(), tensors_.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  by_name_.resize(tensors_.size());
  std::iota(by_name_.begin(), by_name_.end(), 0u);
  std::sort(by_name_.begin(), by_name_.end(),
            [&](uint32_t a, uint32_t b) { return tensors_[a].name < tensors_[b].name; });
  const auto twice = std::adjacent_find(
      by_name_.begin(), by_name_.end(),
      [&](uint32_t a, uint32_t b) { return tensors_[a].name == tensors_[b].name; });
  if (twice != by_name_.end()) {
    fail(ErrorKind::bad_input, "{}: header: tensor {} is there twice", who_,
         printable(tensors_[*twice].name));
  }
}

// The tensors must tile the data exactly: no hole, no overlap, nothing after the last one.
void SafetensorsFile::check_layout() const {
  uint64_t end = 0;
  for (const auto& tensor : tensors_) {
    if (tensor.begin != end) {
      fail(ErrorKind::bad_input, "{}: tensor {} begins at byte {}, expected {} ({})", who_,
           printable(tensor.name), tensor.begin, end, tensor.begin < end ? "overlap" : "hole");
    }
    end = tensor.end;
  }
  if (end > data_bytes()) {
    fail(ErrorKind::bad_input, "{}: the file is {} byte{} short; incomplete download?", who_,
         end - data_bytes(), end - data_bytes() == 1 ? "" : "s");
  }
  if (end < data_bytes()) {
    fail(ErrorKind::bad_input, "{}: {} bytes follow the last tensor, expected none", who_,
         data_bytes() - end);
  }
}

const SafetensorsInfo* SafetensorsFile::find(std::string_view name) const {
  const auto found =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [&](uint32_t i, std::string_view n) { return tensors_[i].name < n; });
  if (found == by_name_.end() || tensors_[*found].name != name) return nullptr;
  return &tensors_[*found];
}

void SafetensorsFile::read(const SafetensorsInfo& tensor, uint64_t byte_offset,
                           std::span<std::byte> out) const {
  if (byte_offset > tensor.bytes() || out.size() > tensor.bytes() - byte_offset) {
    fail(ErrorKind::internal, "{}: tensor {}: asked for bytes {}+{} of {}", who_,
         printable(tensor.name), byte_offset, out.size(), tensor.bytes());
  }
  read_exactly(file_, data_start_ + tensor.begin + byte_offset, out, who_);
}

void SafetensorsFile::check_unchanged() const {
  if (!(stamp_of(file_, who_) == stamp_)) {
    fail(ErrorKind::bad_input, "{}: the file changed while it was being read", who_);
  }
}

}  // namespace nibble
