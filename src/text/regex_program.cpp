#include "text/regex_program.h"

#include <map>
#include <unordered_map>
#include <utility>

#include "core/error.h"

namespace nibble {
namespace {

using Kind = RegexNode::Kind;
using Greed = RegexNode::Greed;
using Op = RegexInstruction::Op;

constexpr size_t kMaxInstructions = 1u << 14;
constexpr size_t kMaxClasses = 512;  // of about 10 kB

// The characters that a match of a node can begin with; nullable if it can be empty.
struct First {
  CharacterSet set;
  bool nullable = false;
};

class Compiler {
 public:
  Compiler(const RegexTree& tree, const std::string& who) : tree_(tree), who_(who) {}

  RegexProgram run() {
    for (const CharacterSet& set : tree_.sets) set_classes_.push_back(class_of(set));
    program_.first = class_of(first_of(tree_.root));
    compile(tree_.root);
    emit(Op::accept);
    return std::move(program_);
  }

 private:
  std::vector<RegexInstruction>& code() { return program_.code; }
  uint32_t here() const { return static_cast<uint32_t>(program_.code.size()); }

  size_t emit(Op op, uint32_t a = 0) {
    if (code().size() == kMaxInstructions)
      fail(ErrorKind::bad_input,
           "{}: regular expression: its repeats make it longer than {} "
           "instructions",
           who_, kMaxInstructions);
    RegexInstruction instruction;
    instruction.op = op;
    instruction.a = a;
    code().push_back(instruction);
    return code().size() - 1;
  }

  // Equal sets share a class.
  uint32_t class_of(const CharacterSet& set) {
    std::u32string key;
    for (const auto& [first, last] : set.ranges()) {
      key += first;
      key += last;
    }
    const auto next = static_cast<uint32_t>(program_.classes.size());
    const auto [place, is_new] = classes_.emplace(std::move(key), next);
    if (!is_new) return place->second;
    if (next == kMaxClasses)
      fail(ErrorKind::bad_input, "{}: regular expression: more than {} classes of characters", who_,
           kMaxClasses);
    program_.classes.emplace_back(set);
    return next;
  }
  uint32_t class_of(const First& first) {
    return first.nullable ? RegexInstruction::kAnything : class_of(first.set);
  }

  const First& first_of(const RegexNode& node) {
    const auto known = firsts_.find(&node);
    if (known != firsts_.end()) return known->second;
    First first;
    switch (node.kind) {
      case Kind::character:
        first.set = tree_.sets[node.set];
        break;
      case Kind::sequence:
        first.nullable = true;
        for (size_t i = 0; i < node.children.size() && first.nullable; ++i) {
          const First& next = first_of(node.children[i]);
          first.set.add(next.set);
          first.nullable = next.nullable;
        }
        break;
      case Kind::choice:
        for (const RegexNode& child : node.children) {
          const First& next = first_of(child);
          first.set.add(next.set);
          first.nullable = first.nullable || next.nullable;
        }
        break;
      case Kind::repeat:
        first = first_of(node.children[0]);
        first.nullable = first.nullable || node.min == 0;
        break;
      case Kind::atomic:
        first = first_of(node.children[0]);
        break;
      default:
        first.nullable = true;
        break;
    }
    return firsts_.emplace(&node, std::move(first)).first->second;
  }

  void compile(const RegexNode& node) {
    switch (node.kind) {
      case Kind::character:
        emit(Op::character, set_classes_[node.set]);
        return;
      case Kind::sequence:
        for (const RegexNode& child : node.children) compile(child);
        return;
      case Kind::choice:
        compile_choice(node);
        return;
      case Kind::repeat:
        compile_repeat(node);
        return;
      case Kind::atomic:
        compile_body(Op::atomic, node);
        return;
      case Kind::look_ahead:
        compile_body(Op::look_ahead, node);
        return;
      case Kind::not_ahead:
        compile_body(Op::not_ahead, node);
        return;
      case Kind::look_behind:
        compile_body(Op::look_behind, node);
        return;
      case Kind::not_behind:
        compile_body(Op::not_behind, node);
        return;
      case Kind::line_begin:
        emit(Op::line_begin);
        return;
      case Kind::line_end:
        emit(Op::line_end);
        return;
      case Kind::text_begin:
        emit(Op::text_begin);
        return;
      case Kind::text_end:
        emit(Op::text_end);
        return;
      case Kind::text_end_or_newline:
        emit(Op::text_end_or_newline);
        return;
      case Kind::word_boundary:
      case Kind::no_boundary:
        program_.word = class_of(CharacterSet::lone_word());
        emit(node.kind == Kind::word_boundary ? Op::word_boundary : Op::no_boundary);
        return;
    }
  }

  //   fork 1, L2; first; jump end; L2: fork 3, L4; second; jump end; L4: third;
  //   end:
  void compile_choice(const RegexNode& node) {
    const size_t last = node.children.size() - 1;
    std::vector<uint32_t> rest(last);  // class of what the alternatives after i begin with
    First from = first_of(node.children[last]);
    for (size_t i = last; i-- > 0;) {
      rest[i] = class_of(from);
      const First& first = first_of(node.children[i]);
      from.set.add(first.set);
      from.nullable = from.nullable || first.nullable;
    }
    std::vector<size_t> jumps;
    for (size_t i = 0; i < last; ++i) {
      const size_t fork = emit(Op::fork, here() + 1);
      code()[fork].first_a = class_of(first_of(node.children[i]));
      code()[fork].first_b = rest[i];
      compile(node.children[i]);
      jumps.push_back(emit(Op::jump));
      code()[fork].b = here();
    }
    compile(node.children[last]);
    for (const size_t jump : jumps) code()[jump].a = here();
  }

  void compile_repeat(const RegexNode& node) {
    const RegexNode& body = node.children[0];
    if (body.kind == Kind::character) {
      const size_t run = emit(Op::run, set_classes_[body.set]);
      code()[run].min = node.min;
      code()[run].max = node.max;
      code()[run].greed = node.greed;
      return;
    }
    size_t atomic = 0;
    if (node.greed == Greed::possessive) atomic = emit(Op::atomic);
    for (uint32_t i = 0; i < node.min; ++i) {
      const uint32_t before = here();
      compile(body);
      if (here() == before) break;  // nothing, however often
    }
    compile_optional_rounds(node, body);
    if (node.greed == Greed::possessive) {
      emit(Op::accept);
      code()[atomic].a = here();
    }
  }

  void compile_optional_rounds(const RegexNode& node, const RegexNode& body) {
    if (node.min == node.max) return;
    const uint32_t first = class_of(first_of(body));
    const auto fork = [&] {
      const size_t at = emit(Op::fork, here() + 1);
      code()[at].first_a = first;
      return at;
    };
    const auto end_at_here = [&](size_t at) {
      RegexInstruction& in = code()[at];
      in.b = here();
      if (node.greed != Greed::lazy) return;
      std::swap(in.a, in.b);
      std::swap(in.first_a, in.first_b);
    };
    if (node.max == RegexNode::kUnlimited) {
      const uint32_t slot = program_.slots++;
      const size_t start = fork();
      emit(Op::mark, slot);
      compile(body);
      const size_t progress = emit(Op::progress, slot);
      emit(Op::jump, static_cast<uint32_t>(start));
      code()[progress].b = here();
      end_at_here(start);
      return;
    }
    std::vector<size_t> forks;
    for (uint32_t i = node.min; i < node.max; ++i) {
      forks.push_back(fork());
      compile(body);
    }
    for (const size_t at : forks) end_at_here(at);
  }

  // Atomic groups and lookaround.
  void compile_body(Op op, const RegexNode& node) {
    const size_t at = emit(op);
    code()[at].min = node.min;
    compile(node.children[0]);
    emit(Op::accept);
    code()[at].a = here();
  }

  const RegexTree& tree_;
  const std::string& who_;
  RegexProgram program_;
  std::vector<uint32_t> set_classes_;  // of each set of the tree
  std::map<std::u32string, uint32_t> classes_;
  std::unordered_map<const RegexNode*, First> firsts_;
};

}  // namespace

RegexProgram compile_regex(const RegexTree& tree, const std::string& who) {
  return Compiler(tree, who).run();
}

}  // namespace nibble
