#include "text/jinja/runtime.h"

#include <algorithm>
#include <limits>

#include "text/jinja/value.h"

namespace nibble::jinja {

Runtime::Runtime(std::string who, const RenderLimits& limits, int64_t now)
    : who_(std::move(who)), limits_(limits), now_(now) {
  // Positions within a text are 32 bits.
  constexpr size_t kMostBytes = std::numeric_limits<uint32_t>::max() / 2;
  limits_.max_output = std::min(limits_.max_output, kMostBytes);
}

Runtime::~Runtime() {
  for (const auto& object : kept_) object->clear();
}

void Runtime::keep(std::shared_ptr<Opaque> object) {
  charge_bytes(256);
  kept_.push_back(std::move(object));
}

void Runtime::charge_values(size_t count) {
  if (count > limits_.max_output / sizeof(Value)) fail_size();
  charge_bytes(count * sizeof(Value));
}

void Runtime::fail_with(const std::string& problem) const {
  nibble::fail(ErrorKind::bad_input, "{}: line {}: {}", who_, line_, problem);
}

void Runtime::fail_steps() const {
  fail("the template does more than {} steps; it may loop without end", limits_.max_steps);
}

void Runtime::fail_size() const {
  fail("the text or a list would become larger than {} bytes", limits_.max_output);
}

void Runtime::fail_nesting() const {
  fail("lists and dicts nest deeper than {} levels", kMaxNesting);
}

void Runtime::fail_depth() const {
  fail("calls and expressions nest too deeply (at most {} calls); does a macro call itself?",
       limits_.max_depth);
}

}  // namespace nibble::jinja
