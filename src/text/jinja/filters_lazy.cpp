// Filters that give generators: nothing happens, and nothing fails, before they are run through.
#include <algorithm>

#include "text/jinja/attributes.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"
#include "text/jinja/strings.h"
#include "text/jinja/tests.h"

namespace nibble::jinja::filters {
namespace {

// A filter's value and arguments, kept until the first item is asked for.
class LazyFilter : public Iterator {
 public:
  LazyFilter(Runtime& runtime, Value source, CallArguments arguments)
      : source_(std::move(source)), arguments_(std::move(arguments)) {
    depth = source_.depth() + 1;
    for (const Value& each : arguments_.positional) depth = std::max(depth, each.depth() + 1);
    for (const auto& each : arguments_.keywords) depth = std::max(depth, each.second.depth() + 1);
    runtime.check_nesting(depth);
  }

  bool next(Runtime& runtime, Value& value) final {
    const DepthGuard guard(runtime, DepthGuard::What::evaluation);
    runtime.charge_step();
    if (done_) return false;
    if (!started_) {
      started_ = true;
      done_ = true;  // until start() has passed
      done_ = !start(runtime);
    }
    if (!done_ && produce(runtime, value)) return true;
    done_ = true;
    return false;
  }

 protected:
  // False when there is nothing to go through.
  virtual bool start(Runtime& runtime) = 0;
  virtual bool produce(Runtime& runtime, Value& value) = 0;

  Value source_;
  CallArguments arguments_;
  std::shared_ptr<Iterator> items_;

 private:
  bool started_ = false;
  bool done_ = false;
};

template <typename T, typename... More>
Value lazy(Runtime& runtime, const Value& value, Args arguments, More... more) {
  return Value::object(Kind::iterator, std::make_shared<T>(runtime, value, arguments, more...));
}

class MapFilter final : public LazyFilter {
 public:
  using LazyFilter::LazyFilter;

 private:
  bool start(Runtime& runtime) override {
    if (!is_true(runtime, source_)) return false;
    auto& keywords = arguments_.keywords;
    const auto attribute = std::find_if(keywords.begin(), keywords.end(), [](const auto& keyword) {
      return keyword.first == "attribute";
    });
    if (arguments_.positional.empty() && attribute != keywords.end()) {
      const Parameters given(runtime, "map", arguments_, {"attribute", "default"}, 1);
      path_ = attribute_path(runtime, given[0]);
      default_ = given[1];
    } else {
      if (arguments_.positional.empty()) runtime.fail("map requires a filter argument");
      const Value name = arguments_.positional.front();
      arguments_.positional.erase(arguments_.positional.begin());
      filter_ = name.is_string() ? find_filter(name.view()) : nullptr;
      if (!filter_) {
        runtime.fail("No filter named '{}'.", name.is_string() ? name.view() : type_name(name));
      }
    }
    items_ = iterate(runtime, source_);
    return true;
  }
  bool produce(Runtime& runtime, Value& value) override {
    Value item;
    if (!items_->next(runtime, item)) return false;
    value = filter_ ? apply_filter(runtime, *filter_, item, arguments_)
                    : follow_path(runtime, item, path_, default_);
    return true;
  }

  const Filter* filter_ = nullptr;
  std::vector<Value> path_;
  Value default_;
};

class SelectFilter final : public LazyFilter {
 public:
  SelectFilter(Runtime& runtime, Value source, CallArguments arguments, bool keep,
               bool by_attribute)
      : LazyFilter(runtime, std::move(source), std::move(arguments)),
        keep_(keep),
        by_attribute_(by_attribute) {}

 private:
  bool start(Runtime& runtime) override {
    if (!is_true(runtime, source_)) return false;
    auto& positional = arguments_.positional;
    if (by_attribute_) {
      if (positional.empty()) runtime.fail("Missing parameter for attribute name");
      path_ = attribute_path(runtime, positional.front());
      positional.erase(positional.begin());
    }
    if (!positional.empty()) {
      const Value name = positional.front();
      positional.erase(positional.begin());
      test_ = name.is_string() ? find_test(name.view()) : nullptr;
      if (!test_) unknown_ = name.is_string() ? name.view() : type_name(name);
    }
    items_ = iterate(runtime, source_);
    return true;
  }
  bool produce(Runtime& runtime, Value& value) override {
    for (Value item; items_->next(runtime, item);) {
      const Value subject = follow_path(runtime, item, path_, {});
      if (!unknown_.empty()) runtime.fail("No test named '{}'.", unknown_);
      const bool passes =
          test_ ? test_->function(runtime, subject, arguments_) : is_true(runtime, subject);
      if (passes != keep_) continue;
      value = std::move(item);
      return true;
    }
    return false;
  }

  bool keep_;
  bool by_attribute_;
  std::vector<Value> path_;
  const Test* test_ = nullptr;
  std::string unknown_;  // the name of a test that there is not
};

class UniqueFilter final : public LazyFilter {
 public:
  using LazyFilter::LazyFilter;

 private:
  bool start(Runtime& runtime) override {
    const Parameters given(runtime, "unique", arguments_, {"case_sensitive", "attribute"});
    case_sensitive_ = given.is_true(0);
    path_ = attribute_path(runtime, given[1]);
    items_ = iterate(runtime, source_);
    return true;
  }
  bool produce(Runtime& runtime, Value& value) override {
    for (Value item; items_->next(runtime, item);) {
      Value key = follow_path(runtime, item, path_, {});
      if (!case_sensitive_ && key.is_string()) key = with_case(runtime, key, Case::lower);
      if (seen_.find(runtime, key)) continue;
      seen_.set(runtime, key, Value::none());
      value = std::move(item);
      return true;
    }
    return false;
  }

  bool case_sensitive_ = false;
  std::vector<Value> path_;
  Dict seen_;
};

class ItemsFilter final : public LazyFilter {
 public:
  using LazyFilter::LazyFilter;

 private:
  bool start(Runtime& runtime) override {
    if (source_.is_undefined()) return false;
    if (!source_.is_dict()) runtime.fail("Can only get item pairs from a mapping.");
    return true;
  }
  bool produce(Runtime& runtime, Value& value) override {
    if (index_ >= source_.as_dict().size()) return false;
    value = view_item(runtime, View(source_, View::What::items), index_++);
    return true;
  }
  size_t index_ = 0;
};

class BatchFilter final : public LazyFilter {
 public:
  using LazyFilter::LazyFilter;

 private:
  bool start(Runtime& runtime) override {
    const Parameters given(runtime, "batch", arguments_, {"linecount", "fill_with"}, 1);
    size_ = given[0];
    fill_ = given[1];
    items_ = iterate(runtime, source_);
    return true;
  }
  bool produce(Runtime& runtime, Value& value) override {
    std::vector<Value> batch = std::move(ahead_);
    ahead_.clear();
    for (Value item; items_->next(runtime, item);) {
      if (equals(runtime, Value::integer(static_cast<WideInt>(batch.size())), size_)) {
        ahead_ = {std::move(item)};
        value = Value::list(runtime, std::move(batch));
        return true;
      }
      runtime.charge_values(1);
      batch.push_back(std::move(item));
    }
    if (batch.empty()) return false;
    if (!fill_.is_missing() && !fill_.is_none() &&
        less(runtime, Value::integer(static_cast<WideInt>(batch.size())), size_)) {
      const auto size = static_cast<size_t>(std::max<int64_t>(0, to_index(runtime, size_, true)));
      runtime.charge_values(size);
      batch.resize(size, fill_);
    }
    value = Value::list(runtime, std::move(batch));
    return true;
  }
  Value size_, fill_;
  std::vector<Value> ahead_;  // the first item of the next batch
};

class SliceFilter final : public LazyFilter {
 public:
  using LazyFilter::LazyFilter;

 private:
  bool start(Runtime& runtime) override {
    const Parameters given(runtime, "slice", arguments_, {"slices", "fill_with"}, 1);
    all_ = to_vector(runtime, source_);
    slices_ = to_index(runtime, given[0], true);
    if (slices_ == 0) runtime.fail("integer division or modulo by zero");
    fill_ = given[1];
    return true;
  }
  bool produce(Runtime& runtime, Value& value) override {
    if (number_ >= slices_) return false;
    const auto length = static_cast<int64_t>(all_.size());
    const int64_t extra = length % slices_;
    const int64_t begin = number_ * (length / slices_) + std::min(number_, extra);
    const int64_t end = begin + length / slices_ + (number_ < extra ? 1 : 0);
    std::vector<Value> part(all_.begin() + begin, all_.begin() + end);
    if (!fill_.is_missing() && !fill_.is_none() && number_ >= extra) part.push_back(fill_);
    ++number_;
    value = Value::list(runtime, std::move(part));
    return true;
  }
  std::vector<Value> all_;
  int64_t slices_ = 0;
  int64_t number_ = 0;
  Value fill_;
};

}  // namespace

Value map(Runtime& runtime, const Value& value, Args arguments) {
  return lazy<MapFilter>(runtime, value, arguments);
}
Value select(Runtime& runtime, const Value& value, Args arguments) {
  return lazy<SelectFilter>(runtime, value, arguments, true, false);
}
Value reject(Runtime& runtime, const Value& value, Args arguments) {
  return lazy<SelectFilter>(runtime, value, arguments, false, false);
}
Value selectattr(Runtime& runtime, const Value& value, Args arguments) {
  return lazy<SelectFilter>(runtime, value, arguments, true, true);
}
Value rejectattr(Runtime& runtime, const Value& value, Args arguments) {
  return lazy<SelectFilter>(runtime, value, arguments, false, true);
}
Value unique(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "unique", arguments, {"case_sensitive", "attribute"});
  return lazy<UniqueFilter>(runtime, value, arguments);
}
Value items(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "items", arguments, {});
  return lazy<ItemsFilter>(runtime, value, arguments);
}
Value batch(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "batch", arguments, {"linecount", "fill_with"}, 1);
  return lazy<BatchFilter>(runtime, value, arguments);
}
Value slice(Runtime& runtime, const Value& value, Args arguments) {
  Parameters(runtime, "slice", arguments, {"slices", "fill_with"}, 1);
  return lazy<SliceFilter>(runtime, value, arguments);
}

}  // namespace nibble::jinja::filters
