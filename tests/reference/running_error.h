// A number that carries a bound on its own rounding error: running error analysis (Higham 2002,
// "Accuracy and Stability of Numerical Algorithms", section 3.3), over any order of summation.
// Evaluating a reference formula with it gives the value and the tolerance at once, so that no test
// has a tuned one.
//
//   x * y, x / y, exp ...   relative error `product` of the result, plus the operands' errors
//   x1 + ... + xn           (n - 1) * sum * (|x1| + ... + |xn|), which holds for every order
//                           (ibid., equation 4.4), plus the operands' errors
//
// Bounds are of first order; a comparison allows twice as much, which also covers formulas that
// differ from the reference's by a few more roundings.
#pragma once

#include <algorithm>
#include <cmath>

namespace nibble::reference {

class RunningError {
 public:
  // Unit roundoffs of products and functions, and of sums, while the object lives.
  class Precision {
   public:
    Precision(double product, double sum) : product_(unit_product_), sum_(unit_sum_) {
      unit_product_ = product;
      unit_sum_ = sum;
    }
    ~Precision() {
      unit_product_ = product_;
      unit_sum_ = sum_;
    }
    Precision(const Precision&) = delete;
    Precision& operator=(const Precision&) = delete;

   private:
    double product_, sum_;
  };

  RunningError(double exact = 0) : value_(exact), magnitude_(std::fabs(exact)) {}

  double value() const { return value_; }
  double error() const { return inherited_ + (terms_ - 1) * unit_sum_ * magnitude_; }
  // Sum of |terms|: what the relative precision of a sum refers to.
  double magnitude() const { return magnitude_; }

  friend RunningError operator+(const RunningError& a, const RunningError& b) {
    if (a.is_zero()) return b;
    if (b.is_zero()) return a;
    RunningError sum;
    sum.value_ = a.value_ + b.value_;
    sum.inherited_ = a.inherited_ + b.inherited_;
    sum.magnitude_ = a.magnitude_ + b.magnitude_;
    sum.terms_ = a.terms_ + b.terms_;
    return sum;
  }
  friend RunningError operator-(const RunningError& a) {
    RunningError negated = a;
    negated.value_ = -a.value_;
    return negated;
  }
  friend RunningError operator-(const RunningError& a, const RunningError& b) { return a + -b; }
  friend RunningError operator*(const RunningError& a, const RunningError& b) {
    return computed(
        a.value_ * b.value_,
        std::fabs(a.value_) * b.error() + std::fabs(b.value_) * a.error() + a.error() * b.error());
  }
  friend RunningError operator/(const RunningError& a, const RunningError& b) {
    const double quotient = a.value_ / b.value_;
    return computed(quotient, (a.error() + std::fabs(quotient) * b.error()) / std::fabs(b.value_));
  }
  RunningError& operator+=(const RunningError& b) { return *this = *this + b; }
  RunningError& operator-=(const RunningError& b) { return *this = *this - b; }
  RunningError& operator*=(const RunningError& b) { return *this = *this * b; }

  // Vectorized functions are accurate to a few units in the last place, hence the factors.
  friend RunningError exp(const RunningError& x) {
    const double y = std::exp(x.value_);
    return computed(y, y * std::expm1(x.error()) + 3 * unit_product_ * y);
  }
  friend RunningError log(const RunningError& x) {
    const double y = std::log(x.value_);
    return computed(y, x.error() / x.value_ + 3 * unit_product_ * std::fabs(y));
  }
  friend RunningError sqrt(const RunningError& x) {
    const double y = std::sqrt(x.value_);
    return computed(y, y > 0 ? x.error() / (2 * y) : std::sqrt(x.error()));
  }
  friend RunningError cos(const RunningError& x) { return wave(std::cos(x.value_), x); }
  friend RunningError sin(const RunningError& x) { return wave(std::sin(x.value_), x); }

 private:
  static RunningError computed(double value, double propagated) {
    RunningError result(value);
    result.inherited_ = propagated + unit_product_ * std::fabs(value);
    return result;
  }
  static RunningError wave(double value, const RunningError& x) {
    return computed(value, x.error() + 3 * unit_product_);
  }
  bool is_zero() const { return magnitude_ == 0 && inherited_ == 0; }

  static inline thread_local double unit_product_ = 0x1p-24;
  static inline thread_local double unit_sum_ = 0x1p-24;

  double value_;
  double inherited_ = 0;  // all but the rounding errors of the sum that this number is
  double magnitude_;
  double terms_ = 1;
};

inline double real_part(const RunningError& x) { return x.value(); }

}  // namespace nibble::reference
