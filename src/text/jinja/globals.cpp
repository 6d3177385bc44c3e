#include "text/jinja/globals.h"

#include <array>
#include <ctime>
#include <memory>

#include "text/jinja/attributes.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"

namespace nibble::jinja {
namespace {

class NativeFunction final : public Opaque {
 public:
  using Function = Value (*)(Runtime& runtime, const CallArguments& arguments);
  explicit NativeFunction(Function function) : function_(function) {}
  std::string_view type_name() const override { return "function"; }
  bool is_callable() const override { return true; }
  Value call(Runtime& runtime, CallArguments& arguments) override {
    return function_(runtime, arguments);
  }

 private:
  Function function_;
};

constexpr int64_t kMaxRange = 100000;  // jinja2's own, in the sandbox

Value range(Runtime& runtime, const CallArguments& arguments) {
  const Parameters given(runtime, "range", arguments, {"start", "stop", "step"}, 1, true);
  const int64_t start = given.given(1) ? to_index(runtime, given[0]) : 0;
  const int64_t stop = to_index(runtime, given[given.given(1) ? 1 : 0]);
  const int64_t step = given.given(2) ? to_index(runtime, given[2]) : 1;
  if (step == 0) runtime.fail("range() arg 3 must not be zero");
  // Beyond what a length in 64 bits says, it is too long in any case.
  const WideInt span =
      step > 0 ? static_cast<WideInt>(stop) - start : static_cast<WideInt>(start) - stop;
  const WideInt magnitude = step > 0 ? step : -static_cast<WideInt>(step);
  if (span > 0 && (span - 1) / magnitude + 1 > kMaxRange) {
    runtime.fail("Range too big. The sandbox blocks ranges larger than {}.", kMaxRange);
  }
  return Value::object(Kind::range, std::make_shared<Range>(start, stop, step));
}

// dict(mapping or pairs, **keywords).
void fill_dict(Runtime& runtime, const CallArguments& arguments, Dict& dict) {
  if (arguments.positional.size() > 1) {
    runtime.fail("dict expected at most 1 argument, got {}", arguments.positional.size());
  }
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional[0];
    if (from.is_dict()) {
      for (const Dict::Entry& entry : from.as_dict().entries()) {
        dict.set(runtime, entry.key, entry.value);
      }
    } else {
      check_defined(runtime, from);
      const auto iterator = iterate(runtime, from);
      for (Value item; iterator->next(runtime, item);) {
        const std::vector<Value> pair = to_vector(runtime, item);
        if (pair.size() != 2) {
          runtime.fail("dictionary update sequence element has length {}; 2 is required",
                       pair.size());
        }
        dict.set(runtime, pair[0], pair[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.keywords) {
    dict.set(runtime, Value::string(name), value);
  }
}

class DictFunction final : public Opaque {
 public:
  std::string_view type_name() const override { return "TemplateDict"; }
  bool is_callable() const override { return true; }
  Value call(Runtime& runtime, CallArguments& arguments) override {
    auto dict = std::make_shared<Dict>();
    fill_dict(runtime, arguments, *dict);
    return Value::dict(std::move(dict));
  }
  bool attribute(Runtime&, std::string_view name, Value& result) override {
    if (name == "fromkeys")
      result = Value::opaque(std::make_shared<NativeFunction>(dict_from_keys));
    return name == "fromkeys";
  }
};

Value make_namespace(Runtime& runtime, const CallArguments& arguments) {
  auto space = std::make_shared<Namespace>();
  fill_dict(runtime, arguments, space->attributes);
  for (const Dict::Entry& entry : space->attributes.entries()) {
    if (entry.key.is_string() && entry.key.view().starts_with('_')) {
      runtime.fail("namespaces take no attributes with an underscore in front: '{}'",
                   entry.key.view());
    }
  }
  runtime.keep(space);
  return Value::object(Kind::name_space, std::move(space));
}

Value raise_exception(Runtime& runtime, const CallArguments& arguments) {
  const Parameters given(runtime, "raise_exception", arguments, {"message"}, 1);
  const Value message = to_string(runtime, given[0]);
  runtime.fail_with(std::string(message.view()));
}

// One directive of strftime, in the C locale.
std::string format_time(Runtime& runtime, const std::tm& time, const std::string& directive) {
  static const locale_t locale = newlocale(LC_ALL_MASK, "C", nullptr);
  std::array<char, 128> buffer{};
  const size_t size = strftime_l(buffer.data(), buffer.size(), directive.c_str(), &time, locale);
  static constexpr std::string_view kKnown = "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%";
  if (kKnown.find(directive.back()) == std::string_view::npos) {
    runtime.fail("strftime_now: the directive {} is not supported", directive);
  }
  return std::string(buffer.data(), size);
}

Value strftime_now(Runtime& runtime, const CallArguments& arguments) {
  const Parameters given(runtime, "strftime_now", arguments, {"format"}, 1);
  const std::string_view format = given.string(0).view();
  const time_t now = runtime.now();
  std::tm time{};
  if (!gmtime_r(&now, &time)) runtime.fail("strftime_now: the time is out of range");
  TextBuilder result(runtime);
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      result.append(format.substr(i, 1), kTemplateText);
      continue;
    }
    std::string directive = "%";
    while (++i < format.size()) {
      directive += format[i];
      if (std::string_view("-_0^#").find(format[i]) == std::string_view::npos) break;
    }
    if (i >= format.size()) runtime.fail("strftime_now: the format ends in {}", directive);
    // A time without a zone has no name and no offset of one, and no fraction of seconds.
    const char letter = directive.back();
    if (letter == 'z' || letter == 'Z') continue;
    result.append(letter == 'f' ? "000000" : format_time(runtime, time, directive), kTemplateText);
  }
  return Value::string(std::move(result).build());
}

class Joiner final : public Opaque {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  std::string_view type_name() const override { return "Joiner"; }
  bool is_callable() const override { return true; }
  Value call(Runtime& runtime, CallArguments& arguments) override {
    Parameters(runtime, "joiner", arguments, {});
    if (used_) return separator_;
    used_ = true;
    return Value::string("");
  }
  void clear() override { separator_ = {}; }

 private:
  Value separator_;
  bool used_ = false;
};

Value make_joiner(Runtime& runtime, const CallArguments& arguments) {
  const Parameters given(runtime, "joiner", arguments, {"sep"});
  return Value::opaque(std::make_shared<Joiner>(given.given(0) ? given[0] : Value::string(", ")));
}

class Cycler final : public Opaque, public std::enable_shared_from_this<Cycler> {
 public:
  explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {}
  std::string_view type_name() const override { return "Cycler"; }
  bool attribute(Runtime&, std::string_view name, Value& result) override {
    if (name == "current") {
      result = items_[position_];
    } else if (name == "pos") {
      result = Value::integer(static_cast<WideInt>(position_));
    } else if (name == "next" || name == "reset") {
      result = Value::opaque(std::make_shared<Step>(shared_from_this(), name == "next"));
    } else {
      return false;
    }
    return true;
  }

 private:
  class Step final : public Opaque {
   public:
    Step(std::shared_ptr<Cycler> cycler, bool is_next)
        : cycler_(std::move(cycler)), is_next_(is_next) {}
    std::string_view type_name() const override { return "method"; }
    bool is_callable() const override { return true; }
    Value call(Runtime& runtime, CallArguments& arguments) override {
      Parameters(runtime, "cycler", arguments, {});
      const Value current = cycler_->items_[cycler_->position_];
      cycler_->position_ = is_next_ ? (cycler_->position_ + 1) % cycler_->items_.size() : 0;
      return is_next_ ? current : Value::none();
    }

   private:
    std::shared_ptr<Cycler> cycler_;
    bool is_next_;
  };

  std::vector<Value> items_;
  size_t position_ = 0;
};

Value make_cycler(Runtime& runtime, const CallArguments& arguments) {
  if (!arguments.keywords.empty()) runtime.fail("cycler() takes no keyword arguments");
  if (arguments.positional.empty()) runtime.fail("at least one item has to be provided");
  return Value::opaque(std::make_shared<Cycler>(arguments.positional));
}

Value lipsum(Runtime& runtime, const CallArguments&) {
  runtime.fail("lipsum(), which gives random text, is not supported");
}

}  // namespace

void add_globals(Variables& variables) {
  static constexpr std::pair<const char*, NativeFunction::Function> kFunctions[] = {
      {"range", range},
      {"namespace", make_namespace},
      {"raise_exception", raise_exception},
      {"strftime_now", strftime_now},
      {"joiner", make_joiner},
      {"cycler", make_cycler},
      {"lipsum", lipsum},
  };
  for (const auto& [name, function] : kFunctions) {
    variables.emplace(name, Value::opaque(std::make_shared<NativeFunction>(function)));
  }
  variables.emplace("dict", Value::opaque(std::make_shared<DictFunction>()));
}

}  // namespace nibble::jinja
