// The one rendering that is going on: its limits, the line it is at, and how it fails.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "text/chat_template.h"
#include "text/jinja/object.h"

namespace nibble::jinja {

// Containers nest at most so deep: what is built of them is walked by recursion.
inline constexpr uint32_t kMaxNesting = 256;

class Runtime {
 public:
  Runtime(std::string who, const RenderLimits& limits, int64_t now);
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  ~Runtime();

  // Throws Error(bad_input) naming the template and the line.
  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    fail_with(fmt::format(format, std::forward<Args>(args)...));
  }
  [[noreturn]] void fail_with(const std::string& problem) const;

  // Work done; throw beyond the limits. A step is an evaluated node, or 16 bytes made or compared.
  void charge_step() {
    if (++steps_ > limits_.max_steps) fail_steps();
  }
  void charge_bytes(size_t bytes) {
    steps_ += static_cast<int64_t>(bytes / 16);
    if (++steps_ > limits_.max_steps) fail_steps();
  }
  void check_size(size_t bytes) const {
    if (bytes > limits_.max_output) fail_size();
  }
  // For a container of so many values, before it is made.
  void charge_values(size_t count);
  void check_nesting(uint32_t depth) const {
    if (depth > kMaxNesting) fail_nesting();
  }

  // Keeps a mutable object until the end of the rendering and clears it then: such objects may
  // refer to each other in circles and in chains of any length.
  void keep(std::shared_ptr<Opaque> object);

  int line() const { return line_; }
  void set_line(int line) { line_ = line; }
  int64_t now() const { return now_; }
  const RenderLimits& limits() const { return limits_; }

 private:
  friend class DepthGuard;
  [[noreturn]] void fail_steps() const;
  [[noreturn]] void fail_size() const;
  [[noreturn]] void fail_nesting() const;
  [[noreturn]] void fail_depth() const;

  std::string who_;
  RenderLimits limits_;
  int64_t now_;
  int64_t steps_ = 0;
  int line_ = 1;
  int calls_ = 0;
  int frames_ = 0;
  std::vector<std::shared_ptr<Opaque>> kept_;
};

// Stands on the stack of everything that may recurse: calls are bounded by limits.max_depth, all
// evaluation together by what a thread's stack holds.
class DepthGuard {
 public:
  enum class What { call, evaluation };
  DepthGuard(Runtime& runtime, What what) : runtime_(runtime), is_call_(what == What::call) {
    if (is_call_ && ++runtime_.calls_ > runtime_.limits_.max_depth) {
      --runtime_.calls_;
      runtime_.fail_depth();
    }
    if (++runtime_.frames_ > kMaxFrames) {
      --runtime_.frames_;
      if (is_call_) --runtime_.calls_;
      runtime_.fail_depth();
    }
  }
  ~DepthGuard() {
    --runtime_.frames_;
    if (is_call_) --runtime_.calls_;
  }
  DepthGuard(const DepthGuard&) = delete;
  DepthGuard& operator=(const DepthGuard&) = delete;

 private:
  static constexpr int kMaxFrames = 2000;
  Runtime& runtime_;
  bool is_call_;
};

}  // namespace nibble::jinja
