// The tree of a parsed template. Immutable once parsed, so that renderings may share it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "text/jinja/operators.h"
#include "text/jinja/value.h"

namespace nibble::jinja {

struct Filter;
struct Test;
struct Expr;
struct Stmt;
using ExprPtr = std::unique_ptr<Expr>;
using Body = std::vector<std::unique_ptr<Stmt>>;

// Expressions and statements nest at most so deep (jinja2 runs into Python's limits near there).
inline constexpr int kMaxExprDepth = 200;
inline constexpr int kMaxStmtDepth = 100;

// A variable: which enclosing function's activation, counted outwards, and where in it.
struct Slot {
  uint32_t hops = 0;
  uint32_t index = 0;
};

enum class ExprKind : uint8_t {
  constant,
  name,        // name, slot
  name_space,  // target only: name, slot, constant (the attribute)
  list,        // operands
  tuple,       // operands
  dict,        // operands: key, value, key, value ...
  attribute,   // operands: object; constant: the name
  item,        // operands: object, key
  slice,       // operands: object, start, stop, step; null: left out
  call,        // operands: callee; arguments
  filter,      // operands: subject (null: the block's text); arguments
  test,        // operands: subject; arguments
  negative,    // operands: one, as the next two
  positive,
  logical_not,
  arithmetic,  // operands: two; op
  logical_and,
  logical_or,
  concat,       // operands: two or more
  comparison,   // operands: n + 1; comparisons: n
  conditional,  // operands: test, then, otherwise (null: undefined)
};

enum class CompareOp : uint8_t {
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  in,
  not_in
};

struct Arguments {
  struct Keyword {
    std::string name;
    ExprPtr value;
  };
  std::vector<ExprPtr> positional;
  std::vector<Keyword> keywords;
  ExprPtr star;         // *args
  ExprPtr double_star;  // **kwargs
};

struct Expr {
  Expr(ExprKind k, int at) : kind(k), line(at) {}
  ExprKind kind;
  Operator op = Operator::add;
  int line;
  int depth = 1;
  Slot slot;
  std::string name;  // of variables, filters and tests
  Value constant;
  std::vector<ExprPtr> operands;
  std::vector<CompareOp> comparisons;
  std::unique_ptr<Arguments> arguments;
  const Filter* filter = nullptr;  // null: unknown, fails when it is reached
  const Test* test = nullptr;
};

enum class StmtKind : uint8_t {
  output,
  assign,
  assign_block,
  for_loop,
  if_chain,
  macro,
  call_block,
  generation,
  filter_block,
  with,
  break_loop,
  continue_loop,
};

struct Stmt {
  Stmt(StmtKind k, int at) : kind(k), line(at) {}
  virtual ~Stmt() = default;
  StmtKind kind;
  int line;
};

// What happens to variables where a scope is entered (scopes.h).
struct Load {
  enum class Action : uint8_t { resolve, copy, forget };
  Action action = Action::forget;
  uint32_t target = 0;  // slot of the scope's own function
  Slot source;          // copy
  std::string name;     // resolve: looked up among the template's variables
};
struct Scope {
  std::vector<Load> loads;
  std::vector<uint32_t> all;  // slots to forget where the scope is left
};
// Something with variables of its own: the template, a macro, a call block, a recursive loop.
struct Function {
  uint32_t slots = 0;
};

struct OutputStmt : Stmt {  // {{ ... }} and text
  explicit OutputStmt(int at) : Stmt(StmtKind::output, at) {}
  std::vector<ExprPtr> values;
};

struct AssignStmt : Stmt {
  explicit AssignStmt(int at) : Stmt(StmtKind::assign, at) {}
  ExprPtr target, value;
  bool exported = false;  // at top level: functions and macros find it by name
};

struct AssignBlockStmt : Stmt {
  explicit AssignBlockStmt(int at) : Stmt(StmtKind::assign_block, at) {}
  ExprPtr target, filter;
  Body body;
  Scope scope;
  bool exported = false;
};

struct ForStmt : Stmt {
  explicit ForStmt(int at) : Stmt(StmtKind::for_loop, at) {}
  ExprPtr target, iterable;
  ExprPtr test, test_target;  // "if": null without; the target again, in variables of its own
  Body body, otherwise;
  bool recursive = false;
  bool has_loop = false;  // the body names `loop`
  uint32_t loop_slot = 0;
  Scope scope, test_scope, else_scope;
  Function function;  // of a recursive loop
};

struct IfStmt : Stmt {
  explicit IfStmt(int at) : Stmt(StmtKind::if_chain, at) {}
  struct Branch {
    int line = 0;
    ExprPtr test;
    Body body;
  };
  std::vector<Branch> branches;
  Body otherwise;
};

struct MacroStmt : Stmt {  // also of call blocks and generation blocks, whose body is a macro
  MacroStmt(StmtKind k, int at) : Stmt(k, at) {}
  struct Parameter {
    ExprPtr target;  // a name
    ExprPtr default_value;
  };
  std::string name;  // empty: of a block
  ExprPtr call;      // of a call block
  std::vector<Parameter> parameters;
  Body body;
  Function function;
  Scope scope;
  bool takes_caller = false, takes_keywords = false, takes_varargs = false;
  bool has_caller_parameter = false;
  uint32_t caller_slot = 0, keywords_slot = 0, varargs_slot = 0;
  Slot slot;  // the macro's own variable
  bool exported = false;
};

struct FilterBlockStmt : Stmt {
  explicit FilterBlockStmt(int at) : Stmt(StmtKind::filter_block, at) {}
  ExprPtr filter;
  Body body;
  Scope scope;
};

struct WithStmt : Stmt {
  explicit WithStmt(int at) : Stmt(StmtKind::with, at) {}
  std::vector<ExprPtr> targets, values;
  Body body;
  Scope scope;
};

struct Program {
  Body body;
  Function function;
  Scope scope;
};

}  // namespace nibble::jinja
