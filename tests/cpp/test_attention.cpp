// SPDX-License-Identifier: MIT
// Attention of every target against the target "reference", between fences; and of the reference against the differences
// of a function of its context.
#include <cmath>
#include "check.h"
#include "dispatch.h"
#include "guarded.h"

namespace {
using namespace fastrnn;

struct Shape {
  Index rows, B, S, A, M;
  bool additive, aliased, ragged;
};

// Strides leave a fence after each row of what has one
template <class T>
struct Problem {
  static constexpr Index kGap = 3;
  const Shape shape;
  std::vector<Index> memory_row, lengths;
  Guarded<T> queries, keys, memory, v, weights, context, d_context, d_queries, d_keys, d_memory, d_v, d_scores;

  explicit Problem(const Shape& s)
      : shape(s), queries(s.rows * (s.A + kGap), 1), keys(s.B * s.S * s.A, 1), memory(s.B * s.S * s.M, 1), v(s.A, 1),
        weights(s.rows * s.S, 1), context(s.rows * (s.M + kGap), 1), d_context(s.rows * (s.M + kGap), 1),
        d_queries(s.rows * (s.A + kGap), 1), d_keys(s.B * s.S * s.A, 1), d_memory(s.B * s.S * s.M, 1),
        d_v(s.rows * s.A, 1), d_scores(s.rows * s.S, 1) {
    check::Random random{uint64_t(s.A + 100 * s.S)};
    for (Index r = 0; r < s.rows; ++r) memory_row.push_back(s.ragged ? random.below(s.B) : r % s.B);
    for (Index b = 0; b < s.B; ++b) lengths.push_back(s.ragged ? random.below(s.S + 1) : s.S);
    fill(random, queries, s.A, kGap), fill(random, d_context, s.M, kGap);
    for (Guarded<T>* all : {&keys, &memory, &v, &d_keys, &d_memory}) fill(random, *all, all->size(), 0);
  }
  static void fill(check::Random& random, const Guarded<T>& to, Index width, Index gap) {
    for (Index k = 0; k < to.size(); ++k)
      if (k % (width + gap) < width) to[k] = T(random.uniform(-1, 1));
  }

  AttentionArgs<T> args() const {
    return {shape.rows,
            shape.S,
            shape.A,
            shape.M,
            memory_row.data(),
            shape.ragged ? lengths.data() : nullptr,
            queries.data(),
            shape.A + kGap,
            shape.aliased ? memory.data() : keys.data(),
            memory.data(),
            shape.additive ? v.data() : nullptr,
            weights.data(),
            context.data(),
            shape.M + kGap};
  }
  void run(const std::string& isa) const {
    const ModelKernels<T>& kernels = models_of<T>(find_target(isa));
    kernels.attention(args());
    kernels.attention_backward({args(), d_context.data(), shape.M + kGap, d_queries.data(), shape.A + kGap,
                                shape.aliased ? d_memory.data() : d_keys.data(), d_memory.data(),
                                shape.additive ? d_v.data() : nullptr, d_scores.data()});
  }
  std::vector<std::pair<const char*, const Guarded<T>*>> results() const {
    return {{"weights", &weights},   {"context", &context}, {"d_queries", &d_queries}, {"d_keys", &d_keys},
            {"d_memory", &d_memory}, {"d_v", &d_v},         {"d_scores", &d_scores}};
  }
};

// Where both are numbers, or neither
template <class T>
void check_close(const char* name, const Guarded<T>& got, const Guarded<T>& want, Index terms) {
  const double allowed = double(8 + terms) * (sizeof(T) == 4 ? 0x1p-23 : 0x1p-52);
  for (Index k = 0; k < want.size(); ++k) {
    const double a = double(got[k]), b = double(want[k]);
    if (std::isnan(a) && std::isnan(b)) continue;
    if (std::fabs(a - b) <= allowed * std::fmax(1, std::fabs(b))) continue;
    CHECK(false, "%s[%td] of %td is %.17g, want %.17g", name, k, want.size(), a, b);
    return;
  }
  got.check(name);
}

template <class T>
void check_targets(const Shape& shape) {
  Problem<T> want(shape);
  want.run("reference");
  for (const std::string& isa : available_targets()) {
    const check::Case scope("%s %s rows=%td S=%td A=%td M=%td%s%s%s", isa.c_str(), sizeof(T) == 4 ? "float" : "double",
                            shape.rows, shape.S, shape.A, shape.M, shape.additive ? " additive" : "",
                            shape.aliased ? " aliased" : "", shape.ragged ? " ragged" : "");
    Problem<T> got(shape);
    got.run(isa);
    for (size_t k = 0; k < got.results().size(); ++k)
      check_close(got.results()[k].first, *got.results()[k].second, *want.results()[k].second, shape.A + shape.M);
    for (Index r = 0; r < shape.rows; ++r)
      for (Index s = shape.ragged ? got.lengths[size_t(got.memory_row[size_t(r)])] : shape.S; s < shape.S; ++s)
        CHECK(got.weights[r * shape.S + s] == 0, "weight %td of row %td is %g, past the end", s, r,
              double(got.weights[r * shape.S + s]));
  }
}

// d of sum(d_context . context) by each number of `of` against `gradient`, which stood at `before`
void check_differences(const Problem<double>& p, const Guarded<double>& of, const Guarded<double>& gradient,
                       const std::vector<double>& before, const char* name) {
  const ModelKernels<double>& kernels = models_of<double>(find_target("reference"));
  const auto value = [&] {
    kernels.attention(p.args());
    double sum = 0;
    for (Index r = 0; r < p.shape.rows; ++r)
      for (Index j = 0; j < p.shape.M; ++j) {
        const Index k = r * (p.shape.M + Problem<double>::kGap) + j;
        sum += p.d_context[k] * p.context[k];
      }
    return sum;
  };
  for (Index k = 0; k < of.size(); ++k) {
    if (std::isnan(of[k])) continue;
    const double at = of[k], step = 1e-5;
    of[k] = at + step;
    const double above = value();
    of[k] = at - step;
    const double below = value(), want = (above - below) / (2 * step);
    of[k] = at;
    const double got = gradient[k] - (before.empty() ? 0 : before[size_t(k)]);
    CHECK(std::fabs(got - want) <= 1e-8, "%s[%td] is %.12g, want %.12g", name, k, got, want);
  }
}

void check_gradients(bool additive) {
  const check::Case scope(additive ? "additive" : "dot products");
  Problem<double> p({5, 3, 4, 3, 2, additive, false, true});
  const std::vector<double> keys = p.d_keys.copy(), memory = p.d_memory.copy();
  p.run("reference");
  check_differences(p, p.queries, p.d_queries, {}, "d_queries");
  check_differences(p, p.keys, p.d_keys, keys, "d_keys");
  check_differences(p, p.memory, p.d_memory, memory, "d_memory");
  if (!additive) return;
  const Guarded<double> dv(p.shape.A);
  for (Index j = 0; j < p.shape.A; ++j) {
    dv[j] = 0;
    for (Index r = 0; r < p.shape.rows; ++r) dv[j] += p.d_v[r * p.shape.A + j];
  }
  check_differences(p, p.v, dv, {}, "d_v");
}

template <class T>
void check_all() {
  for (Index n : {1, 3, 4, 5, 8, 15, 16, 17, 33, 70})
    for (bool additive : {false, true})
      for (bool ragged : {false, true}) {
        check_targets<T>({7, 3, n, 2 * n + 1, n + 2, additive, false, ragged});
        check_targets<T>({5, 2, 6, n, n, additive, true, ragged});
      }
  check_targets<T>({0, 2, 3, 4, 5, false, false, true});
}
}  // namespace

int main() {
  check_gradients(false);
  check_gradients(true);
  check_all<float>();
  check_all<double>();
  return check::report();
}
