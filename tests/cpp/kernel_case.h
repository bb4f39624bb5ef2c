// SPDX-License-Identifier: MIT
// One layer and direction given to one kernel of api.h: the arguments of a call, each in fenced memory, and all that
// comes out of pack, forward and backward.
#pragma once
#include <cmath>
#include <utility>
#include "api.h"
#include "check.h"
#include "guarded.h"
#include "network.h"
#include "threads.h"

using fastrnn::kMaxState;
using fastrnn::Team;

struct Options {
  Index T, B, I, H;
  bool lengths, reset, reversed;  // of the batch
  bool bias, states, strided;     // states: s0 and dsT are given, else null. strided: x, y, dy, dx
  bool dx, add_dx;
  uint64_t seed;
  bool controlled = false;  // dh and dc clipped in every way, and measured
  Index constant_steps = 0;  // at which a constant input is added; 0: there is none

  std::string text() const {
    return check::text("T=%td B=%td I=%td H=%td constant=%td%s%s%s%s%s%s%s%s seed=%llu", T, B, I, H, constant_steps,
                       lengths ? " lengths" : "", reset ? " reset" : "", reversed ? " reversed" : "",
                       bias ? " bias" : "", states ? " states" : "", strided ? " strided" : "", dx ? " dx" : "",
                       add_dx ? " add_dx" : "", static_cast<unsigned long long>(seed));
  }
};

// Lengths 0 ... T, unsorted; where there is room one row is empty and one whole
inline std::vector<Index> random_lengths(check::Random& random, Index T, Index B) {
  std::vector<Index> lengths;
  for (Index b = 0; b < B; ++b) lengths.push_back(random.below(T + 1));
  if (B >= 2) {
    const Index empty = random.below(B);
    lengths[size_t(empty)] = 0;
    lengths[size_t((empty + 1 + random.below(B - 1)) % B)] = T;
  }
  return lengths;
}

template <class T>
struct KernelCase {
  const Options o;
  const Index P;  // less than H where the cell projects it and there is room
  const bool masked;  // whether the kernel is made for noise in the recurrence; every fifth call is inference
  const fastrnn::StateMasks masks{0.3, {0.2, 0.4}, o.seed % 5 != 0, o.seed, 3};
  check::Random random;
  const std::vector<Index> lengths;          // empty: none
  const std::vector<unsigned char> resets;   // (T,B), empty: none
  const fastrnn::Batch batch;
  Field<T> x, dy, dx_before;                 // NaN where a row has ended; dx_before everywhere a number
  Guarded<T> s0[kMaxState], dsT[kMaxState];
  Guarded<T> weights[6], gradients_before[6];  // in the order of Weights
  Guarded<T> constant;

  KernelCase(const fastrnn::Kernel<T>& kernel, const Options& options)
      : o(options), P(kernel.projects ? (o.H + 1) / 2 : o.H),
        masked(std::string(kernel.id).find("_masked_") != std::string::npos), random{options.seed},
        lengths(o.lengths ? random_lengths(random, o.T, o.B) : std::vector<Index>()), resets(random_resets()),
        batch(o.T, o.B, o.lengths ? lengths.data() : nullptr, o.reset ? resets.data() : nullptr),
        x(o.T, o.B, o.I, o.strided), dy(o.T, o.B, P, o.strided), dx_before(o.T, o.B, o.I, false) {
    for (int q = 0; q < kernel.states; ++q)
      s0[q] = Guarded<T>(o.B * width(q), 1), dsT[q] = Guarded<T>(o.B * width(q), 1);
    const Index rows = kernel.gates * o.H, bias = o.bias ? rows : 0;
    constant = Guarded<T>(o.constant_steps ? o.B * rows : 0, 1);
    const Index sizes[6] = {rows * o.I, kernel.recurrent ? rows * P : 0, bias,
                            bias,       kernel.unit_parameters * o.H,    kernel.projects ? P * o.H : 0};
    for (int k = 0; k < 6; ++k) weights[k] = Guarded<T>(sizes[k], k % 2), gradients_before[k] = Guarded<T>(sizes[k]);
  }

  const fastrnn::StateMasks* state_masks() const { return masked ? &masks : nullptr; }
  std::vector<unsigned char> random_resets() {
    std::vector<unsigned char> marks(size_t(o.reset ? o.T * o.B : 0));
    for (unsigned char& mark : marks) mark = random.chance(0.3) ? static_cast<unsigned char>(1 + random.below(255)) : 0;
    return marks;
  }

  Index width(int state) const { return state ? o.H : P; }
  bool fresh() const { return o.seed % 3 == 0; }  // gradients are written over what was never set
  Index length(Index b) const { return o.lengths ? lengths[size_t(b)] : o.T; }
  fastrnn::Dims dims() const { return batch.dims(o.I, o.H, P); }
  fastrnn::Steps steps() const { return batch.steps(o.reversed); }

  // Calls value() for every number of a matrix that a kernel may read, or of an array
  template <class F>
  void fill(const Field<T>& field, Index n, bool padding, F value) {
    for (Index t = 0; t < o.T; ++t)
      for (Index b = 0; b < o.B; ++b)
        for (Index k = 0; (padding || t < length(b)) && k < n; ++k) field.at(t, b)[k] = T(value());
  }
  template <class F>
  static void fill(const Guarded<T>& array, F value) {
    for (Index k = 0; k < array.size(); ++k) array[k] = T(value());
  }

  // Weights scaled by their fan-in: gates move over their whole range, and nothing grows over the steps.
  void fill_random() {
    const auto wide = [this] { return random.uniform(-1.7, 1.7); };  // variance 1
    const auto scaled = [this](double limit) { return [this, limit] { return random.uniform(-limit, limit); }; };
    fill(x, o.I, false, wide);
    fill(dy, P, false, wide);
    fill(dx_before, o.I, true, wide);
    for (int q = 0; q < kMaxState; ++q) fill(s0[q], scaled(1.2)), fill(dsT[q], wide);
    for (int k = 0; k < 6; ++k) fill(gradients_before[k], wide);
    fill(weights[0], scaled(1.2 / std::sqrt(double(o.I ? o.I : 1))));
    fill(weights[1], scaled(1.2 / std::sqrt(double(P))));
    for (int k = 2; k < 5; ++k) fill(weights[k], scaled(0.5));
    fill(weights[5], scaled(1.2 / std::sqrt(double(o.H))));
    fill(constant, scaled(0.7));
  }

  template <class U>
  fastrnn::Weights<U> as_weights(const Guarded<T> (&arrays)[6]) const {
    const auto at = [&](int k) { return arrays[k].size() ? arrays[k].data() : nullptr; };
    return {arrays[0].data(), at(1), at(2), at(3), at(4), at(5)};
  }
};

template <class T>
struct Result {
  std::string name;
  std::vector<T> values;
  bool backward;
};

// How the threads of a call share it: one thread, or a team of the pool
struct Sharing {
  int threads;
  bool split_units;
};

// A kernel at work on a case. Fences, and inputs that must stay as they were, are checked by the way.
template <class T>
class KernelRun {
 public:
  KernelRun(const fastrnn::Kernel<T>& kernel, const KernelCase<T>& c, Sharing sharing = {1, false})
      : kernel_(kernel), case_(c), lease_(sharing.threads), sharing_(sharing), inputs_(inputs()) {
    CHECK(lease_.size() == sharing.threads, "asked for %d threads, got %d", sharing.threads, lease_.size());
    packed_ = Guarded<T>(kernel.packed_size(c.dims()));
    run([this](const Team& team) {
      kernel_.pack(case_.dims(), case_.template as_weights<const T>(case_.weights), packed_.data(), team);
    });
    packed_.check("packed");
  }

  // y and the states at the end
  std::vector<Result<T>> forward(bool training) {
    const Options& o = case_.o;
    const Field<T> y(o.T, o.B, case_.P, o.strided);
    const Guarded<T> scratch(kernel_.forward_scratch_size(case_.dims(), sharing_.threads, training));
    if (training) tape_ = Guarded<T>(kernel_.tape_size(case_.dims()));
    const std::vector<T> packed_before = packed_.copy();
    fastrnn::ForwardArgs<T> args{};
    args.masks = case_.state_masks();
    args.dims = case_.dims(), args.steps = case_.steps(), args.packed = packed_.data();
    args.x = case_.x.template rows<const T>(), args.y = y.template rows<T>();
    args.tape = training ? tape_.data() : nullptr, args.scratch = scratch.data();
    args.constant = o.constant_steps ? case_.constant.data() : nullptr, args.constant_steps = o.constant_steps;
    if (begun_columns_ >= 0) {
      args.begun = begun_.data(), args.also = o.constant_steps ? also_.data() : nullptr;
      args.begun_columns = begun_columns_, args.constant = nullptr;
    }
    Guarded<T> sT[kMaxState];
    for (int q = 0; q < kernel_.states; ++q) {
      sT[q] = Guarded<T>(o.B * case_.width(q), 1);
      args.s0[q] = o.states ? case_.s0[q].data() : nullptr;
      args.sT[q] = sT[q].data();
    }
    const auto pass = [&] { run([&](const Team& team) { kernel_.forward(args, team); }); };
    if (checkpoints_) checkpoints_->forward(0, args, pass);
    else pass();

    y.check("y"), scratch.check("forward scratch"), tape_.check("tape"), packed_.check("packed");
    CHECK(same_bits(packed_before, packed_.copy()), "forward has written the packed weights");
    std::vector<Result<T>> results{{"y", y.copy(), false}};
    add_states(results, "sT", sT, false);
    check_inputs("forward");
    return results;
  }

  // What the tape tells, after forward(true)
  std::vector<Result<T>> read_tape() const {
    const Options& o = case_.o;
    const Guarded<T> cells(o.T * o.B * o.H, 1), gates(o.T * o.B * kernel_.gates * o.H, 1);
    kernel_.read_tape(case_.dims(), case_.steps(), tape_.data(), cells.data(), gates.data());
    cells.check("cells"), gates.check("gates");
    return {{"cells", cells.copy(), false}, {"gates", gates.copy(), false}};
  }

  // Lets the gates of what is called next begin after the first `columns` of x, and with the constant input as it is laid
  // out
  void begin(Index columns) {
    const Options& o = case_.o;
    const Index size = kernel_.begun_size(case_.dims());
    products_ = Guarded<T>(case_.batch.R * size), constants_ = Guarded<T>((o.B + 1) * size);
    begun_.assign(size_t(o.T * o.B), nullptr), also_ = begun_, begun_columns_ = columns;
    std::vector<const T*> x;
    for (Index b = 0; b < o.B; ++b)
      for (Index t = 0; t < case_.length(b); ++t) {
        const Index step = o.reversed ? case_.length(b) - 1 - t : t, row = step < o.constant_steps ? b : o.B;
        begun_[size_t(t * o.B + b)] = products_.data() + Index(x.size()) * size;
        also_[size_t(t * o.B + b)] = constants_.data() + row * size;
        x.push_back(case_.x.at(t, b));
      }
    kernel_.begin_rows({case_.dims(), packed_.data(), Index(x.size()), columns, x.data(), nullptr, products_.data()});
    for (Index k = 0; k < size; ++k) constants_[o.B * size + k] = 0;
    if (o.constant_steps)
      kernel_.begin_rows({case_.dims(), packed_.data(), o.B, 0, nullptr, case_.constant.data(), constants_.data()});
    products_.check("products"), constants_.check("constants");
  }

  // The same with the tape in segments, for backward(&checkpoints)
  std::vector<Result<T>> forward(fastrnn::Checkpoints<T>& checkpoints) {
    checkpoints_ = &checkpoints;
    std::vector<Result<T>> results = forward(false);
    checkpoints_ = nullptr;
    return results;
  }

  // dx, ds0 and the gradients of the parameters, after forward(true), or after forward(checkpoints) with those. Checks
  // the sums of squares.
  std::vector<Result<T>> backward(fastrnn::Checkpoints<T>* checkpoints = nullptr) {
    const Options& o = case_.o;
    const Field<T> dx(o.T, o.B, o.I, o.strided);
    for (Index t = 0; o.add_dx && t < o.T; ++t)
      for (Index b = 0; b < o.B; ++b)
        if (o.I) std::memcpy(dx.at(t, b), case_.dx_before.at(t, b), size_t(o.I) * sizeof(T));
    Guarded<T> gradients[6], ds0[kMaxState];
    for (int k = 0; k < 6; ++k) {
      gradients[k] = Guarded<T>(case_.weights[k].size(), 1);
      for (Index n = 0; n < gradients[k].size(); ++n)
        gradients[k][n] = case_.fresh() ? T(NAN) : case_.gradients_before[k][n];
    }
    const Guarded<T> scratch(kernel_.backward_scratch_size(case_.dims(), sharing_.threads));
    fastrnn::GradientSums sums = {-1, -1, -1};
    fastrnn::BackwardArgs<T> args{};
    args.masks = case_.state_masks();
    args.dims = case_.dims(), args.steps = case_.steps(), args.tape = tape_.data(), args.scratch = scratch.data();
    args.weights = case_.template as_weights<const T>(case_.weights);
    args.gradients = case_.template as_weights<T>(gradients), args.sums = &sums,
    args.value = T(o.controlled ? 1.5 : INFINITY);
    Guarded<double> norms(4 * o.T * o.B);
    for (Index k = 0; k < norms.size(); ++k) norms[k] = 0;
    const fastrnn::StepControl<T> control{T(1.5), 0.8 * std::sqrt(double(o.H)), true,
                                          reinterpret_cast<fastrnn::StepNorms*>(norms.data())};
    args.control = o.controlled ? &control : nullptr;
    args.fresh = case_.fresh();
    Guarded<T> d_constant(case_.constant.size(), 1);
    args.constant = o.constant_steps ? case_.constant.data() : nullptr, args.constant_steps = o.constant_steps;
    args.d_constant = o.constant_steps ? d_constant.data() : nullptr;
    args.x = case_.x.template rows<const T>(), args.dy = case_.dy.template rows<const T>();
    args.dx = dx.template rows<T>(), args.add_dx = o.add_dx;
    if (!o.dx) args.dx.p = nullptr;
    for (int q = 0; q < kernel_.states; ++q) {
      ds0[q] = Guarded<T>(o.B * case_.width(q), 1);
      args.dsT[q] = o.states ? case_.dsT[q].data() : nullptr;
      args.ds0[q] = ds0[q].data();
    }
    const auto pass = [&] { run([&](const Team& team) { kernel_.backward(args, team); }); };
    if (checkpoints) {
      checkpoints->reserve(sharing_.threads);
      checkpoints->backward(0, args, packed_.data(), pass, [&](const fastrnn::ForwardArgs<T>& again) {
        run([&](const Team& team) { kernel_.forward(again, team); });
      });
    } else {
      pass();
    }

    dx.check("dx"), d_constant.check("d_constant"), scratch.check("backward scratch"), tape_.check("tape"),
        packed_.check("packed");
    norms.check("norms");
    std::vector<Result<T>> results;
    if (o.dx) results.push_back({"dx", dx.copy(), true});
    if (o.constant_steps) results.push_back({"d_constant", d_constant.copy(), true});
    add_states(results, "ds0", ds0, true);
    const char* const names[6] = {"dW_ih", "dW_hh", "db_ih", "db_hh", "dunit", "dW_hr"};
    double squares = 0;
    for (int k = 0; k < 6; ++k) {
      gradients[k].check(names[k]);
      results.push_back({names[k], gradients[k].copy(), true});
      for (T value : results.back().values) squares += double(value) * double(value);
    }
    for (int part = 0; o.controlled && part < 3;
         ++part) {  // dh, dc, clamped; the count jumps where a number is at the limit
      results.push_back({check::text("norms[%d]", part), {}, true});
      for (Index k = part; k < norms.size(); k += 4) results.back().values.push_back(T(norms[k]));
    }
    CHECK(std::fabs(sums.after - squares) <= 1e-12 * squares,
          "the squares sum to %.17g, of the gradients as stored %.17g", sums.after, squares);
    check_inputs("backward");
    return results;
  }

 private:
  template <class F>
  void run(const F& work) {
    lease_.run(sharing_.threads, sharing_.split_units, 1000000000, work);
  }

  void add_states(std::vector<Result<T>>& results, const char* name, const Guarded<T> (&states)[kMaxState],
                  bool backward) const {
    for (int q = 0; q < kernel_.states; ++q) {
      results.push_back({check::text("%s[%d]", name, q), states[q].copy(), backward});
      states[q].check(results.back().name.c_str());
    }
  }

  std::vector<T> inputs() const {
    std::vector<T> all = case_.x.copy();
    const auto append = [&all](const std::vector<T>& more) { all.insert(all.end(), more.begin(), more.end()); };
    append(case_.dy.copy());
    for (int q = 0; q < kernel_.states; ++q) append(case_.s0[q].copy()), append(case_.dsT[q].copy());
    for (const Guarded<T>& weights : case_.weights) append(weights.copy());
    append(case_.constant.copy());
    return all;
  }
  void check_inputs(const char* by) const {
    CHECK(same_bits(inputs_, inputs()), "%s has written an input", by);
    case_.x.check("x"), case_.dy.check("dy");
    for (const Guarded<T>& weights : case_.weights) weights.check("weights");
  }

  const fastrnn::Kernel<T>& kernel_;
  const KernelCase<T>& case_;
  fastrnn::ThreadLease lease_;
  const Sharing sharing_;
  const std::vector<T> inputs_;
  Guarded<T> packed_, tape_, products_, constants_;
  std::vector<const T*> begun_, also_;
  Index begun_columns_ = -1;  // none
  fastrnn::Checkpoints<T>* checkpoints_ = nullptr;
};
