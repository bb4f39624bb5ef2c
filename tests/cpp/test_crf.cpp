// SPDX-License-Identifier: MIT
// Linear-chain CRFs of every target against the target "reference", which is in the log domain and in double: numbers of
// tags around the ends of vectors, ragged rows, forbidden transitions and scores beyond any exponential, between fences.
#include "crf.h"
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include "check.h"
#include "dispatch.h"
#include "guarded.h"
#include "threads.h"

namespace {
using fastrnn::CrfArgs;

template <class T>
const fastrnn::CrfKernels<T>& kernels(const std::string& isa) {
  return fastrnn::models_of<T>(fastrnn::find_target(isa)).crf;
}

enum class Scores { kUsual, kForbidden, kHuge };

template <class T>
struct Problem {
  Index T_, B, K;
  Guarded<T> start, transition, end;
  Field<T> z;
  std::vector<Index> lengths, tags;

  Problem(Index steps, Index batch, Index K_, Scores scores, uint64_t seed)
      : T_(steps), B(batch), K(K_), start(K, 1), transition(K * K, 1), end(K, 1), z(steps, batch, K, true),
        lengths(size_t(batch)), tags(size_t(steps * batch)) {
    check::Random random{seed};
    const double size = scores == Scores::kHuge ? 3000 : 2;
    for (Index k = 0; k < K; ++k) start[k] = T(random.uniform(-size, size)), end[k] = T(random.uniform(-size, size));
    for (Index k = 0; k < K * K; ++k)
      transition[k] = T(scores == Scores::kForbidden && random.chance(0.7) ? -1e4 : random.uniform(-size, size));
    for (Index b = 0; b < B; ++b) {
      lengths[size_t(b)] = b == 0 ? T_ : random.below(T_ + 1);
      for (Index t = 0; t < T_; ++t) {
        tags[size_t(t * B + b)] = t < lengths[size_t(b)] ? random.below(K) : -7;
        for (Index k = 0; k < K && t < lengths[size_t(b)]; ++k) z.at(t, b)[k] = T(random.uniform(-size, size));
      }
    }
  }
  CrfArgs<T> args() const {
    CrfArgs<T> a{};
    a.steps = T_, a.B = B, a.K = K;
    a.start = start.data(), a.transition = transition.data(), a.end = end.data();
    a.z = z.template rows<const T>(), a.lengths = lengths.data(), a.tags = tags.data(), a.scale = T(0.25);
    return a;
  }
};

template <class T>
struct Results {
  Guarded<double> value, score;
  Field<T> dz, p;
  Guarded<T> d_transition;
  std::vector<Index> path;
  Results(const std::string& isa, const Problem<T>& problem)
      : value(problem.B), score(problem.B), dz(problem.T_, problem.B, problem.K, true),
        p(problem.T_, problem.B, problem.K, false), d_transition(problem.K * problem.K, 1),
        path(size_t(problem.T_ * problem.B)) {
    CrfArgs<T> args = problem.args();
    args.value = value.data(), args.dz = dz.template rows<T>();
    fastrnn::crf_values<T>(kernels<T>(isa), args, d_transition.data());
    args.value = score.data(), args.path = path.data();
    fastrnn::crf_viterbi<T>(kernels<T>(isa), args);
    args.tags = nullptr, args.dz = p.template rows<T>(), args.scale = 1;
    Guarded<double> log_z(problem.B);
    args.value = log_z.data();
    fastrnn::crf_values<T>(kernels<T>(isa), args, nullptr);
    value.check("value"), score.check("score"), log_z.check("log Z"), d_transition.check("d_transition");
    dz.check("dz"), p.check("p");
  }
};

void check_close(const char* name, double got, double want, double allowed) {
  CHECK(std::fabs(got - want) <= allowed, "%s is %.17g, want %.17g", name, got, want);
}

template <class T>
void check_against_reference(const std::string& isa, const Problem<T>& problem, double size) {
  const Results<T> got(isa, problem), want("reference", problem);
  const double eps = sizeof(T) == 4 ? 0x1p-23 : 0x1p-52, allowed = 40 * eps * size;
  const double steps = double(problem.T_);
  for (Index b = 0; b < problem.B; ++b) {
    check_close("value", got.value[b], want.value[b], allowed * steps);
    check_close("score", got.score[b], want.score[b], allowed * steps);
    for (Index t = 0; t < problem.T_; ++t) {
      double sum = 0;
      for (Index k = 0; k < problem.K; ++k) {
        check_close("dz", double(got.dz.at(t, b)[k]), double(want.dz.at(t, b)[k]), allowed);
        check_close("p", double(got.p.at(t, b)[k]), double(want.p.at(t, b)[k]), 4 * allowed);
        sum += double(got.p.at(t, b)[k]);
      }
      if (isa != "reference") check_close("sum of p", sum, t < problem.lengths[size_t(b)], double(problem.K) * 4 * eps);
      if (t >= problem.lengths[size_t(b)])
        CHECK(got.path[size_t(t * problem.B + b)] == -1, "a path goes on past the end of its row");
    }
  }
  for (Index k = 0; k < problem.K * problem.K; ++k)
    check_close("d_transition", double(got.d_transition[k]), double(want.d_transition[k]),
                allowed * steps * double(problem.B));
}

// Each row alone, and any number of threads: the same bits
template <class T>
void check_bits(const std::string& isa) {
  const Problem<T> problem(40, 37, 21, Scores::kForbidden, 3);
  fastrnn::set_thread_count(1);
  const Results<T> one(isa, problem);
  for (int threads : {2, 3, 8}) {
    fastrnn::set_thread_count(threads);
    const Results<T> more(isa, problem);
    CHECK(same_bits(one.value.copy(), more.value.copy()) && same_bits(one.dz.copy(), more.dz.copy()) &&
              same_bits(one.d_transition.copy(), more.d_transition.copy()) && one.path == more.path,
          "%d threads give other bits than one", threads);
  }
  fastrnn::set_thread_count(1);
  for (Index b = 0; b < problem.B; ++b) {
    Problem<T> alone(problem.T_, 1, problem.K, Scores::kForbidden, 3);
    alone.lengths[size_t(0)] = problem.lengths[size_t(b)];
    std::copy_n(problem.transition.data(), problem.K * problem.K, alone.transition.data());
    std::copy_n(problem.start.data(), problem.K, alone.start.data());
    std::copy_n(problem.end.data(), problem.K, alone.end.data());
    for (Index t = 0; t < problem.T_; ++t) {
      alone.tags[size_t(t)] = problem.tags[size_t(t * problem.B + b)];
      std::copy_n(problem.z.at(t, b), problem.K, alone.z.at(t, 0));
    }
    const Results<T> row(isa, alone);
    CHECK(row.value[0] == one.value[b] && row.score[0] == one.score[b], "row %td alone has another value", b);
    for (Index t = 0; t < problem.T_; ++t)
      CHECK(!std::memcmp(row.dz.at(t, 0), one.dz.at(t, b), size_t(problem.K) * sizeof(T)) &&
                row.path[size_t(t)] == one.path[size_t(t * problem.B + b)],
            "row %td alone differs at step %td", b, t);
  }
}

// What is not finite is found in the value, wherever it stands
template <class T>
void check_not_finite(const std::string& isa) {
  for (int place = 0; place < 4; ++place)
    for (double bad : {double(NAN), double(INFINITY)}) {
      Problem<T> problem(3, 1, 19, Scores::kUsual, 5);
      T* const at[] = {&problem.start[7], &problem.transition[30], &problem.end[18], problem.z.at(1, 0) + 17};
      *at[place] = T(bad);
      CrfArgs<T> args = problem.args();
      double value = 0;
      args.value = &value;
      fastrnn::crf_values<T>(kernels<T>(isa), args, nullptr);
      CHECK(!std::isfinite(value), "%g at place %d: value %g", bad, place, value);
    }
}

template <class T>
void check_all() {
  for (const std::string& isa : fastrnn::available_targets()) {
    const check::Case target("%s %s", isa.c_str(), sizeof(T) == 4 ? "float" : "double");
    for (Index K : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 20, 33, 50, 64, 70})
      for (Index steps : {1, 2, 9, 40}) {
        if (steps == 40 && std::getenv("FASTRNN_TEST_FEW")) continue;  // an emulator takes ten times as long
        const check::Case scope("K=%td T=%td", K, steps);
        check_against_reference(isa, Problem<T>(steps, 5, K, Scores::kUsual, 1), 8);
        check_against_reference(isa, Problem<T>(steps, 5, K, Scores::kForbidden, 2), 1e4);
        check_against_reference(isa, Problem<T>(steps, 5, K, Scores::kHuge, 3), 1e4);
      }
    check_not_finite<T>(isa);
    if (isa != "reference") check_bits<T>(isa);
  }
}
}  // namespace

int main() {
  check_all<float>();
  check_all<double>();
  return check::report();
}
