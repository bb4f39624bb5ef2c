// SPDX-License-Identifier: MIT
// Attention over rows, and networks that run step by step. Arrays are dense; None stands for what is not there.
#include <tuple>
#include "dispatch.h"
#include "network_view.h"
#include "register.h"
#include "stepwise/stepwise.h"
namespace fastrnn {
namespace {
// The member `name` of a dict, dense and of that size; null where it is None or of no size
template <class T>
T* member(const py::dict& given, const char* name, Index size) {
  const py::object value = given[name];
  if (value.is_none()) return nullptr;
  py::array array = py::cast<py::array>(value);
  return dense<T>(array, size, name);
}

template <class T>
const T* constant_member(const py::dict& given, const char* name, Index size) {
  const py::object value = given[name];
  if (value.is_none()) return nullptr;
  const py::array array = py::cast<py::array>(value);
  return dense<T>(array, size, name);
}

const Index* checked(const Index* values, Index count, Index below, const char* what) {
  for (Index k = 0; values && k < count; ++k) require(values[k] >= 0 && values[k] < below, what);
  return values;
}

// queries (B,Q,A) keys (B,S,A) memory (B,S,M) lengths (B) v (A); weights (B,Q,S) context (B,Q,M)
template <class T>
struct BatchedRows {
  const Index B, Q, S, A, M;
  const Index* lengths;
  const T *queries, *keys, *memory, *v;
  T *weights, *context;

  BatchedRows(const py::dict& given, const std::tuple<Index, Index, Index, Index, Index>& sizes)
      : B(std::get<0>(sizes)), Q(std::get<1>(sizes)), S(std::get<2>(sizes)), A(std::get<3>(sizes)),
        M(std::get<4>(sizes)),
        lengths(checked(constant_member<Index>(given, "lengths", B), B, S + 1, "a length is beyond the memory")),
        queries(constant_member<T>(given, "queries", B * Q * A)), keys(constant_member<T>(given, "keys", B * S * A)),
        memory(constant_member<T>(given, "memory", B * S * M)), v(constant_member<T>(given, "v", A)),
        weights(member<T>(given, "weights", B * Q * S)), context(member<T>(given, "context", B * Q * M)) {
    require(queries && keys && memory && weights && context, "attention lacks an array");
  }
  AttentionArgs<T> of(Index b, const Index* same) const {
    return {Q,
            S,
            A,
            M,
            same,
            lengths ? lengths + b : nullptr,
            queries + b * Q * A,
            A,
            keys + b * S * A,
            memory + b * S * M,
            v,
            weights + b * Q * S,
            context + b * Q * M,
            M};
  }
  // f(b) for all b, by several threads where there is much to do
  template <class F>
  void each(const F& f) const {
    const py::gil_scoped_release release;
    ThreadLease lease(double(B) * double(Q) * double(S) * double(A + M) > 1e6 ? thread_count() : 1);
    lease.run(lease.size(), false, 0, [&](const Team& team) {
      for (Index b = B * team.rank / team.size; b < B * (team.rank + 1) / team.size; ++b) f(b);
    });
  }
};

template <class T>
void attention(const std::string& isa, const py::dict& given, std::tuple<Index, Index, Index, Index, Index> sizes) {
  const BatchedRows<T> rows(given, sizes);
  const ModelKernels<T>& kernels = models_of<T>(find_target(isa));
  const std::vector<Index> same(size_t(rows.Q), 0);  // all queries of a sequence look at its memory
  rows.each([&](Index b) { kernels.attention(rows.of(b, same.data())); });
}

template <class T>
void attention_backward(const std::string& isa, const py::dict& given,
                        std::tuple<Index, Index, Index, Index, Index> sizes) {
  const BatchedRows<T> rows(given, sizes);
  const Index B = rows.B, Q = rows.Q, S = rows.S, A = rows.A, M = rows.M;
  const T* const d_context = constant_member<T>(given, "d_context", B * Q * M);
  T *const d_queries = member<T>(given, "d_queries", B * Q * A), *const d_keys = member<T>(given, "d_keys", B * S * A);
  T *const d_memory = member<T>(given, "d_memory", B * S * M), *const d_scores =
                                                                   member<T>(given, "d_scores", B * Q * S);
  T* const d_v = member<T>(given, "d_v", B * Q * A);
  require(d_context && d_queries && d_keys && d_memory && d_scores && !rows.v == !d_v, "a gradient is missing");
  const ModelKernels<T>& kernels = models_of<T>(find_target(isa));
  const std::vector<Index> same(size_t(Q), 0);
  rows.each([&](Index b) {
    kernels.attention_backward({rows.of(b, same.data()), d_context + b * Q * M, M, d_queries + b * Q * A, A,
                                d_keys + b * S * A, d_memory + b * S * M, d_v ? d_v + b * Q * A : nullptr,
                                d_scores + b * Q * S});
  });
}

template <class T>
struct PyStepwiseTape {
  StepwiseTape<T> tape;
  const void* network;
  bool used = false;
};

// A network and the arrays that a pass is given by name:
//   query "none" "late" "early", feeds, sizes (S,A,M,C), source_lengths (B) keys memory v weight_q weight_c bias_c
//   joined attended weights queries previous
template <class T>
class Pass {
 public:
  Pass(const py::object& network, const py::dict& given, const Batch& batch)
      : view(view_of<T>(network)), kernels(models_of<T>(find_target(view.isa))), net(*view.net) {
    require(net.streams(), "a layer does not run forward");
    const std::string query = py::cast<std::string>(given["query"]);
    require(query == "none" || query == "late" || query == "early", "no such query");
    StepwiseAttention<T>& a = attention;
    a.query = query == "none" ? Query::kNone : query == "late" ? Query::kLate : Query::kEarly;
    a.feeds = py::cast<bool>(given["feeds"]);
    std::tie(a.S, a.A, a.M, a.C) = py::cast<std::tuple<Index, Index, Index, Index>>(given["sizes"]);
    const Index B = batch.B, R = batch.R, P = net.shape().P;
    const bool attends = a.query != Query::kNone, early = a.query == Query::kEarly;
    if (!attends) a.S = a.A = a.M = 0, a.C = P;
    a.lengths =
        checked(constant_member<Index>(given, "source_lengths", B), B, a.S + 1, "a length is beyond the memory");
    a.keys = constant_member<T>(given, "keys", B * a.S * a.A);
    a.memory = constant_member<T>(given, "memory", B * a.S * a.M);
    a.v = constant_member<T>(given, "v", a.A);
    a.W_q = constant_member<T>(given, "weight_q", a.A * P);
    a.W_c = constant_member<T>(given, "weight_c", a.C * (a.M + P)), a.b_c = constant_member<T>(given, "bias_c", a.C);
    rows = {member<T>(given, "joined", R * (a.M + P)), member<T>(given, "attended", R * a.C),
            member<T>(given, "weights", R * a.S), member<T>(given, "queries", R * a.A),
            member<T>(given, "previous", R * P)};
    require(rows.joined && (!attends || (a.keys && a.memory && a.W_c && a.b_c && rows.attended && rows.weights)) &&
                (!early || (a.W_q && rows.queries && rows.previous)) && (early || a.query == Query::kNone || a.A == P),
            "a step lacks an array");
  }
  void read_states(const py::object& given, Index B, const T** at) const {
    for (int q = 0; q < net.kernel().states; ++q) at[q] = nullptr;
    if (given.is_none()) return;
    const py::sequence all = py::cast<py::sequence>(given);
    require(int(all.size()) == net.kernel().states, "wrong number of states");
    for (int q = 0; q < net.kernel().states; ++q) {
      if (all[size_t(q)].is_none()) continue;
      const py::array a = py::cast<py::array>(all[size_t(q)]);
      at[q] = dense<T>(a, Index(net.parts().size()) * B * net.width(q), "a state is not (parts,B,n)");
    }
  }
  py::tuple new_states(Index B, T** at) const {
    py::tuple all(net.kernel().states);
    for (int q = 0; q < net.kernel().states; ++q) {
      py::array_t<T> a({Index(net.parts().size()), B, net.width(q)});
      at[q] = a.mutable_data();
      all[size_t(q)] = a;
    }
    return all;
  }

  const NetworkView<T> view;
  const ModelKernels<T>& kernels;
  const Network<T>& net;
  StepwiseAttention<T> attention{};
  StepwiseRows<T> rows{};
};

// sampling: None or a dict of probability seed draw weight bias table ids (T,B)
template <class T>
StepwiseSampling<T> read_sampling(const py::object& object, const Batch& batch, Index C, Index given) {
  StepwiseSampling<T> s{};
  if (object.is_none()) return s;
  const py::dict all = py::cast<py::dict>(object);
  s.probability = py::cast<double>(all["probability"]), s.seed = py::cast<std::uint64_t>(all["seed"]);
  s.draw = py::cast<bool>(all["draw"]);
  const py::array V = py::cast<py::array>(all["weight"]), table = py::cast<py::array>(all["table"]);
  require(V.ndim() == 2 && table.ndim() == 2 && V.shape(1) == C, "the readout does not match h");
  s.K = V.shape(0), s.width = table.shape(1);
  require(s.K > 0 && table.shape(0) >= s.K && s.width <= given, "the table does not match x or the readout");
  s.V = constant_member<T>(all, "weight", s.K * C), s.b = constant_member<T>(all, "bias", s.K);
  s.table = constant_member<T>(all, "table", table.shape(0) * s.width);
  s.ids = member<Index>(all, "ids", batch.T * batch.B);
  require(s.ids, "no ids");
  return s;
}

Batch read_batch(Index T, Index B, const py::object& lengths) {
  if (lengths.is_none()) return Batch(T, B, nullptr, nullptr);
  const py::array array = py::cast<py::array>(lengths);
  const Index* const at = dense<Index>(array, B, "lengths are not (B,) of int64");
  return Batch(T, B, checked(at, B, T + 1, "a length is beyond T"), nullptr);
}

template <class T>
py::tuple stepwise_forward(const py::object& network, const py::dict& given, const py::array& x,
                           const py::object& states, const py::object& lengths, const py::object& dropout,
                           const py::object& sampling, const py::object& constant) {
  require(x.ndim() == 3, "x is not (T,B,I)");
  auto result = std::make_unique<PyStepwiseTape<T>>(
      PyStepwiseTape<T>{{{read_batch(x.shape(0), x.shape(1), lengths), {}, {}, 0, {}, {}, {}, {}, {}}, {}}, nullptr});
  const Batch& batch = result->tape.net.batch;
  const Pass<T> pass(network, given, batch);
  result->network = &pass.net;
  if (!dropout.is_none()) {
    const auto [outputs, variational, inputs, seed] =
        py::cast<std::tuple<double, bool, double, std::uint64_t>>(dropout);
    result->tape.net.dropout = {outputs, variational, inputs, seed, true};
  }
  const Stepwise<T> stepwise(pass.net, pass.kernels, pass.attention);
  require(stepwise.given() >= 0 && x.shape(2) == stepwise.given(), "x and what is fed are not what the network reads");
  const Rows<const T> x_rows = rows<T>(x, stepwise.given(), "x is not (T,B,I) with contiguous rows");
  const StepwiseSampling<T> choices = read_sampling<T>(sampling, batch, pass.attention.C, stepwise.given());
  ConstantInput<T> added{};
  if (!constant.is_none()) {
    const auto [array, steps] = py::cast<std::tuple<py::array, Index>>(constant);
    const Index width = pass.net.kernel().gates * pass.net.shape().H;
    added = {dense<T>(std::as_const(array), batch.B * width, "the constant input is not (B,G*H)"), steps};
  }
  const T* s0[kMaxState];
  T* sT[kMaxState];
  pass.read_states(states, batch.B, s0);
  const py::tuple after = pass.new_states(batch.B, sT);
  {
    const py::gil_scoped_release release;
    stepwise.forward(*pass.view.packed, x_rows, s0, choices, added, pass.rows, sT, result->tape);
  }
  return py::make_tuple(after, py::cast(std::move(result)));
}

// given has besides: d_attended before_tanh d_queries d_scores d_v d_keys d_memory
template <class T>
py::tuple stepwise_backward(const py::object& network, const py::dict& given, PyStepwiseTape<T>& tape,
                            const py::object& dstates, const py::object& dx, py::array gradients, bool fresh,
                            T step_value, double step_norm, T value, bool trace, const py::object& norms,
                            const py::object& d_constant) {
  const Batch& batch = tape.tape.net.batch;
  const Pass<T> pass(network, given, batch);
  require(!tape.used && tape.network == &pass.net, "tape is used or of another network");
  const Stepwise<T> stepwise(pass.net, pass.kernels, pass.attention);
  const StepwiseAttention<T>& a = pass.attention;
  const Index R = batch.R, B = batch.B;
  const StepwiseGradientRows<T> to{constant_member<T>(given, "d_attended", R * a.C),
                                   member<T>(given, "before_tanh", R * a.C), member<T>(given, "d_queries", R * a.A),
                                   member<T>(given, "d_scores", R * a.S), member<T>(given, "d_v", R * a.A)};
  T *const d_keys = member<T>(given, "d_keys", B * a.S * a.A), *const d_memory =
                                                                   member<T>(given, "d_memory", B * a.S * a.M);
  require(to.attended && (a.query == Query::kNone || (to.before_tanh && to.scores && d_keys && d_memory)) &&
              (a.query != Query::kEarly || to.queries) && !a.v == !to.v,
          "a gradient is missing");
  BackwardRequest<T> request{};
  request.gradients = dense<T>(gradients, pass.net.parameter_count(), "gradients do not match the parameters");
  request.fresh = fresh;
  request.step_value = step_value, request.step_norm = step_norm, request.value = value, request.trace = trace;
  if (!norms.is_none()) {
    py::array array = py::cast<py::array>(norms);
    request.norms = reinterpret_cast<StepNorms*>(
        dense<double>(array, 4 * Index(pass.net.parts().size()) * batch.T * B, "norms are not (parts,T,B,4)"));
  }
  if (!dx.is_none()) {
    py::array array = py::cast<py::array>(dx);
    require(array.ndim() == 3 && array.shape(0) == batch.T && array.shape(1) == B, "dx does not match the tape");
    request.dx = rows<T>(array, stepwise.given(), "dx is not (T,B,I) with contiguous rows");
    if (array.size() == 0) request.dx.p = nullptr;
  }
  require(d_constant.is_none() == (tape.tape.net.constant.template as<T>() == nullptr),
          "d_constant is for tapes with a constant input");
  if (!d_constant.is_none()) {
    py::array array = py::cast<py::array>(d_constant);
    request.d_constant = dense<T>(array, B * pass.net.kernel().gates * pass.net.shape().H, "d_constant is not (B,G*H)");
  }
  const py::tuple initial = pass.new_states(B, request.ds0);
  pass.read_states(dstates, B, request.dsT);
  tape.used = true;
  GradientSums sums;
  {
    const py::gil_scoped_release release;
    try {
      sums = stepwise.backward(tape.tape, pass.view.parameters, pass.rows, to, d_keys, d_memory, request);
    } catch (...) {  // before anything was changed
      tape.used = false;
      throw;
    }
  }
  tape.tape.net.release();
  return py::make_tuple(initial, py::make_tuple(sums.before, sums.after, sums.clamped));
}

template <class T>
void register_typed(py::module_& m, const char* tape_name) {
  py::class_<PyStepwiseTape<T>>(m, tape_name).def_readonly("used", &PyStepwiseTape<T>::used);
  const std::string type = sizeof(T) == sizeof(float) ? "_f32" : "_f64";
  m.def(("attention" + type).c_str(), attention<T>, py::arg("isa"), py::arg("arrays"), py::arg("sizes"));
  m.def(("attention_backward" + type).c_str(), attention_backward<T>, py::arg("isa"), py::arg("arrays"),
        py::arg("sizes"));
  m.def(("stepwise_forward" + type).c_str(), stepwise_forward<T>, py::arg("network"), py::arg("arrays"), py::arg("x"),
        py::arg("states"), py::arg("lengths"), py::arg("dropout"), py::arg("sampling"), py::arg("constant"));
  m.def(("stepwise_backward" + type).c_str(), stepwise_backward<T>, py::arg("network"), py::arg("arrays"),
        py::arg("tape"), py::arg("dstates"), py::arg("dx"), py::arg("gradients"), py::arg("fresh"),
        py::arg("step_value"), py::arg("step_norm"), py::arg("value"), py::arg("trace"), py::arg("norms"),
        py::arg("d_constant"));
}
}  // namespace

void register_attention(py::module_& m) {
  register_typed<float>(m, "StepwiseTapeF32");
  register_typed<double>(m, "StepwiseTapeF64");
}
}  // namespace fastrnn
