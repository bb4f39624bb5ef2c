// SPDX-License-Identifier: MIT
// Decoding: a decoder of the arrays of its parts, and the loops without the GIL.
#include <chrono>
#include "decode/generate.h"
#include "dispatch.h"
#include "network_view.h"
#include "register.h"
namespace fastrnn {
namespace {
constexpr std::chrono::milliseconds kPoll(100);  // between looks at signals: Ctrl-C ends a loop

// Called between steps, without the GIL
class Signals {
 public:
  void operator()() {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < kPoll) return;
    last_ = now;
    const py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals()) throw py::error_already_set();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// What one call is given, by names; it keeps the arrays:
//   network, states (parts,B,n) one an entry, readout (K,N), readout_bias (K), embedding (V,E) or None, numbers: whether
//   the outputs are fed back as they are, constant (B,G*H) or None, constant_always, attention: a dict or None, of
//   early, feeds, query (A,H), query_bias (A), v (A), combine (C,M+H), combine_bias (C), keys (B,S,A), memory (B,S,M),
//   lengths (B); each of query, the biases, v and lengths may be None
template <class T>
class Parts {
 public:
  explicit Parts(const py::dict& given)
      : given_(given), view_(view_of<T>(given["network"])), kernels_(models_of<T>(find_target(view_.isa))),
        model{*view_.net, view_.packed, kernels_, nullptr, 0, 0, {}, nullptr, nullptr, false} {
    require(model.net.streams(), "a layer does not run forward");
    read_states(py::cast<py::sequence>(given["states"]));
    if (!given["attention"].is_none()) read_attention(py::cast<py::dict>(given["attention"]));
    model.readout = map(given, "readout", model.attention ? model.attention->combine.H : model.net.outputs());
    require(model.outputs() > 0, "no outputs");
    if (!given["embedding"].is_none()) {
      const py::array table = py::cast<py::array>(given["embedding"]);
      require(table.ndim() == 2 && table.shape(0) >= model.outputs(), "the embedding has no row for an output");
      model.embedding = dense<T>(table, table.size(), "the embedding is not dense");
      model.vocabulary = table.shape(0), model.feedback_width = table.shape(1);
    } else if (py::cast<bool>(given["numbers"])) {
      model.feedback_width = model.outputs();
    }
    require(model.feedback_width + model.fed_width() == model.net.shape().I, "the layer reads another width");
    if (!given["constant"].is_none()) {
      model.constant = array(given, "constant", sequences * model.net.kernel().gates * model.net.shape().H);
      model.constant_always = py::cast<bool>(given["constant_always"]);
    }
  }

 private:
  const py::dict given_;
  const NetworkView<T> view_;
  const ModelKernels<T>& kernels_;

 public:
  DecoderModel<T> model;
  Index sequences = 0;
  const T* states[kMaxState] = {};

 private:
  static const T* array(const py::dict& from, const char* name, Index size) {
    return dense<T>(std::as_const(static_cast<const py::array&>(py::cast<py::array>(from[name]))), size, name);
  }
  static const T* optional(const py::dict& from, const char* name, Index size) {
    return from[name].is_none() ? nullptr : array(from, name, size);
  }

  LinearMap<T> map(const py::dict& from, const std::string& name, Index inputs) const {
    const py::array weight = py::cast<py::array>(from[name.c_str()]);
    require(weight.ndim() == 2 && weight.shape(1) == inputs, "a weight does not match what it multiplies");
    const Index rows = weight.shape(0);
    const T* const bias = optional(from, (name + "_bias").c_str(), rows);
    return LinearMap<T>(kernels_, {array(from, name.c_str(), rows * inputs), bias, rows, inputs, inputs, false});
  }

  void read_states(const py::sequence& all) {
    const Index parts = Index(model.net.parts().size());
    require(int(all.size()) == model.net.kernel().states, "wrong number of states");
    for (size_t q = 0; q < all.size(); ++q) {
      const py::array a = py::cast<py::array>(all[q]);
      require(a.ndim() == 3 && (q == 0 || a.shape(1) == sequences), "a state is not (parts,B,H)");
      sequences = a.shape(1);
      states[q] = dense<T>(a, parts * sequences * model.net.width(int(q)), "a state is not (parts,B,H)");
    }
  }

  void read_attention(const py::dict& from) {
    model.attention = std::make_unique<DecoderAttention<T>>();
    DecoderAttention<T>& a = *model.attention;
    const Index H = model.net.outputs();
    a.early = py::cast<bool>(from["early"]), a.feeds = py::cast<bool>(from["feeds"]);
    require(!(a.early && a.feeds), "early attention feeds its context");
    if (!from["query"].is_none()) a.query = map(from, "query", H);
    a.A = a.query.H ? a.query.H : H;
    a.v = optional(from, "v", a.A);
    const py::array keys = py::cast<py::array>(from["keys"]), memory = py::cast<py::array>(from["memory"]);
    require(memory.ndim() == 3 && keys.ndim() == 3, "keys or memory are not (B,S,n)");
    a.S = memory.shape(1), a.M = memory.shape(2);
    a.keys = array(from, "keys", sequences * a.S * a.A);
    a.memory = array(from, "memory", sequences * a.S * a.M);
    if (!from["lengths"].is_none()) {
      const py::array lengths = py::cast<py::array>(from["lengths"]);
      a.lengths = dense<Index>(lengths, sequences, "lengths are not (B,) of int64");
      for (Index k = 0; k < sequences; ++k) require(a.lengths[k] >= 0 && a.lengths[k] <= a.S, "a length is beyond S");
    }
    a.combine = map(from, "combine", a.M + H);
  }
};

template <class F>
auto by_type(const py::dict& parts, const F& f) {
  if (py::isinstance<py::array_t<float>>(parts["readout"])) return f(float());
  return f(double());
}

template <class T>
const Index* start_tokens(const Parts<T>& parts, const py::array& start) {
  const Index* const tokens = dense<Index>(start, parts.sequences, "start is not (B,) of int64");
  for (Index k = 0; k < parts.sequences; ++k)
    require(!parts.model.embedding || (tokens[k] >= 0 && tokens[k] < parts.model.vocabulary),
            "start is no row of the embedding");
  return tokens;
}

py::array_t<Index> array_of(const std::vector<Index>& values) {
  return py::array_t<Index>(Index(values.size()), values.data());
}

// [(tokens, log probability, finished)]
py::list list_of(const std::vector<DecodedTokens>& all) {
  py::list list;
  for (const DecodedTokens& d : all) list.append(py::make_tuple(array_of(d.tokens), d.log_probability, d.finished));
  return list;
}

py::list tokens(const py::dict& given, const py::array& start, Index end, Index max_length, double temperature,
                Index top_k, double top_p, uint64_t seed) {
  return by_type(given, [&](auto type) {
    const Parts<decltype(type)> parts(given);
    const Index* const first = start_tokens(parts, start);
    const Sampling how{temperature, top_k, top_p, seed};
    std::vector<DecodedTokens> all;
    {
      const py::gil_scoped_release release;
      all = decode_tokens(parts.model, parts.sequences, parts.states, first, {end, max_length, Signals()}, how);
    }
    return list_of(all);
  });
}

py::list beam(const py::dict& given, const py::array& start, Index end, Index max_length, Index width, Index best,
              double alpha) {
  return by_type(given, [&](auto type) {
    const Parts<decltype(type)> parts(given);
    const Index* const first = start_tokens(parts, start);
    require(width > 0 && best > 0 && best <= width, "not 1 <= best <= width");
    std::vector<std::vector<DecodedTokens>> all;
    {
      const py::gil_scoped_release release;
      all = decode_beam(parts.model, parts.sequences, parts.states, first, {end, max_length, Signals()},
                        {width, best, alpha, end, max_length});
    }
    py::list list;
    for (const auto& hypotheses : all) list.append(list_of(hypotheses));
    return list;
  });
}

// y (B,max_length,K) is written; returns the log probabilities (B)
py::array numbers(const py::dict& given, const py::object& start, bool sigmoid, double temperature, uint64_t seed,
                  py::array y) {
  return by_type(given, [&](auto type) {
    using T = decltype(type);
    const Parts<T> parts(given);
    const Index size = parts.sequences * parts.model.outputs();
    require(y.ndim() == 3 && !parts.model.embedding, "y is not (B,T,K)");
    T* const to = dense<T>(y, size * y.shape(1), "y is not (B,T,K)");
    py::array given_start;
    if (!start.is_none()) given_start = py::cast<py::array>(start);
    require(start.is_none() == (parts.model.feedback_width == 0), "start is what is fed back first");
    const T* const first = start.is_none() ? nullptr : dense<T>(std::as_const(given_start), size, "start is not (B,K)");
    py::array_t<double> log_probabilities(parts.sequences);
    double* const scores = log_probabilities.mutable_data();
    {
      const py::gil_scoped_release release;
      decode_numbers(parts.model, parts.sequences, parts.states, first, {-1, y.shape(1), Signals()},
                     {temperature, 0, 1, seed}, sigmoid, to, scores);
    }
    return log_probabilities;
  });
}
}  // namespace

void register_decode(py::module_& m) {
  m.def("decode_tokens", tokens, py::arg("parts"), py::arg("start"), py::arg("end"), py::arg("max_length"),
        py::arg("temperature"), py::arg("top_k"), py::arg("top_p"), py::arg("seed"));
  m.def("decode_beam", beam, py::arg("parts"), py::arg("start"), py::arg("end"), py::arg("max_length"),
        py::arg("width"), py::arg("best"), py::arg("alpha"));
  m.def("decode_numbers", numbers, py::arg("parts"), py::arg("start"), py::arg("sigmoid"), py::arg("temperature"),
        py::arg("seed"), py::arg("y"));
}
}  // namespace fastrnn
