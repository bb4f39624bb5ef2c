// SPDX-License-Identifier: MIT
// Networks and tapes. Kernels run without the GIL where they last longer than handing it over.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <tuple>
#include "dispatch.h"
#include "network.h"
#include "network_view.h"
#include "register.h"
namespace fastrnn {
namespace {
constexpr double kLongWork = 1e6;  // multiplications, ~20 us

class ReleaseIf {
 public:
  explicit ReleaseIf(bool condition) {
    if (condition) release_.emplace();
  }

 private:
  std::optional<py::gil_scoped_release> release_;
};

// bfloat16: with products of rounded numbers, of float only. masked: for noise in the recurrence
template <class T>
const Kernel<T>& find_kernel(const std::string& isa, const std::string& cell, bool bfloat16, bool masked) {
  const KernelTable& table = find_target(isa);
  const Kernels<T>* found = &kernels_of<T>(table);
  if constexpr (sizeof(T) == sizeof(float)) found = bfloat16 ? &table.bf16 : found;
  const Kernel<T>* const kernels = masked ? found->masked : found->cells;
  for (int k = 0; kernels && k < found->count; ++k)
    if (cell == kernels[k].cell) return kernels[k];
  throw std::invalid_argument("no cell " + cell);
}

std::uint64_t networks_made = 0;  // changed under the GIL

// `used` is set by the backward call that destroys the tape. `network` is the number of the network it belongs to: an
// address could be that of a later one.
template <class T>
struct PyTape {
  Tape<T> tape;
  std::uint64_t network;
  bool used = false;
  int segments = 1;
};

template <class T>
class PyNetwork {
 public:
  PyNetwork(const std::string& cell, Index input_size, Index hidden_size, Index output_size,
            const std::vector<int>& directions, int biases, bool learn_state,
            const std::tuple<double, double, double>& noise, bool bfloat16, const std::string& isa)
      : PyNetwork(cell,
                  NetworkShape{input_size,
                               hidden_size,
                               output_size,
                               directions,
                               biases,
                               learn_state,
                               std::get<0>(noise),
                               {std::get<1>(noise), std::get<2>(noise)}},
                  bfloat16, isa) {
    require(!directions.empty() && biases >= 0 && biases <= 2, "no layer, or more than two biases");
    for (int direction : directions) require(direction >= kForward && direction <= kBoth, "no such direction");
  }
  PyNetwork(const std::string& cell, const NetworkShape& shape, bool bfloat16, const std::string& isa)
      : isa_(find_target(isa).isa), net_(find_kernel<T>(isa_, cell, bfloat16, shape.masked()), shape),
        number_(++networks_made) {
    const Kernel<T>& kernel = net_.kernel();
    require(kernel.projects ? shape.P > 0 && shape.P < shape.H : shape.P == shape.H,
            "the cell has no such output size");
    Buffer buffer = buffer_of<T>(net_.parameter_count());
    parameters_ = buffer.as<T>();
    std::fill_n(parameters_, net_.parameter_count(), T(0));
    memory_ = py::cast(std::make_unique<Memory>(Memory{std::move(buffer)}));
  }

  const std::string& isa() const { return isa_; }
  std::string kernel() const { return net_.kernel().id; }
  std::vector<py::tuple> layout() const {
    std::vector<py::tuple> all;
    for (const Parameter& p : net_.layout())
      all.push_back(py::make_tuple(
          p.layer, p.direction, p.role,
          p.columns >= 0 ? py::tuple(py::make_tuple(p.rows, p.columns)) : py::tuple(py::make_tuple(p.rows)), p.offset));
    return all;
  }

  py::array flat() {
    ++exposures_;
    return py::array_t<T>(net_.parameter_count(), parameters_, memory_);
  }

  // x (T,B,I), y (T,B,D*H) with contiguous rows; states: None or one (parts,B,H) array a state; lengths (B,) int64;
  // reset (T,B) uint8; workspace: most bytes of the tape, or None; dropout: what a Dropout holds, or None; constant: an
  // array (B,G*H) and at how many steps it is added, or None. Returns the final states and a tape where training.
  py::tuple forward(const py::array& x, const py::object& states, const py::object& lengths, const py::object& reset,
                    py::array y, bool training, const std::optional<double>& workspace, const py::object& dropout,
                    const py::object& constant) {
    const Index steps = x.shape(0), batch_size = x.shape(1);
    const Rows<const T> x_rows = rows<T>(x, net_.shape().I, "x is not (T,B,I) with contiguous rows");
    require(y.ndim() == 3 && y.shape(0) == steps && y.shape(1) == batch_size, "y does not match x");
    const Rows<T> y_rows = rows<T>(y, net_.outputs(), "y is not (T,B,D*H) with contiguous rows");
    Batch batch = batch_of(steps, batch_size, lengths, reset);
    const T* s0[kMaxState];
    T* sT[kMaxState];
    const py::tuple final_states = new_states(net_, batch_size, sT);
    read_states(states, batch_size, s0);
    const ConstantInput<T> added = read_constant(constant, batch_size);
    const auto packed = packed_weights();
    std::unique_ptr<PyTape<T>> tape;
    if (training) tape.reset(new PyTape<T>{{batch, make_dropout(dropout), {}, 0, {}, {}, {}, {}, {}}, number_});
    if (training && workspace) tape->tape.checkpoints = net_.plan(batch, *workspace);
    if (tape && tape->tape.checkpoints) tape->segments = tape->tape.checkpoints->segments();
    {
      const ReleaseIf release(work(batch) > kLongWork);
      net_.forward(batch, *packed, x_rows, s0, y_rows, sT, tape ? &tape->tape : nullptr, added);
    }
    return py::make_tuple(final_states, tape ? py::cast(std::move(tape)) : py::none());
  }

  bool begins() const { return net_.kernel().begin_rows != nullptr; }

  NetworkView<T> view() { return {&net_, packed_weights(), isa_, parameters_}; }

  bool owns(const PyTape<T>& tape) const { return tape.network == number_; }

  // dy (T,B,D*H), dx (T,B,I) or None; gradients (flat) are added to unless fresh; limits of clipping, infinity for none;
  // norms (parts,T,B,4) of double or None; d_constant (B,G*H) where forward had a constant input, else None. Returns
  // dstates and GradientSums.
  py::tuple backward(PyTape<T>& tape, const py::array& dy, const py::object& dstates, const py::object& dx,
                     py::array gradients, bool fresh, T step_value, double step_norm, T value, bool trace,
                     const py::object& norms, const py::object& d_constant) {
    require(owns(tape) && !tape.used, "tape is used or of another network");
    const Batch& batch = tape.tape.batch;
    require(dy.ndim() == 3 && dy.shape(0) == batch.T && dy.shape(1) == batch.B, "dy does not match the tape");
    BackwardRequest<T> request{};
    request.dy = rows<T>(dy, net_.outputs(), "dy is not (T,B,D*H) with contiguous rows");
    request.fresh = fresh;
    request.step_value = step_value, request.step_norm = step_norm, request.value = value, request.trace = trace;
    if (!norms.is_none()) {
      py::array array = py::cast<py::array>(norms);
      request.norms = reinterpret_cast<StepNorms*>(
          dense<double>(array, 4 * Index(net_.parts().size()) * batch.T * batch.B, "norms are not (parts,T,B,4)"));
    }
    if (!dx.is_none()) {
      py::array dx_array = py::cast<py::array>(dx);
      require(dx_array.ndim() == 3 && dx_array.shape(0) == batch.T && dx_array.shape(1) == batch.B,
              "dx does not match the tape");
      request.dx = rows<T>(dx_array, net_.shape().I, "dx is not (T,B,I) with contiguous rows");
      if (batch.T == 0 || batch.B == 0) request.dx.p = nullptr;
    }
    require(d_constant.is_none() == (tape.tape.constant.template as<T>() == nullptr),
            "d_constant is for tapes with a constant input");
    if (!d_constant.is_none()) {
      py::array array = py::cast<py::array>(d_constant);
      request.d_constant = dense<T>(array, batch.B * constant_width(), "d_constant is not (B,G*H)");
    }
    request.gradients = dense<T>(gradients, net_.parameter_count(), "gradients do not match the parameters");
    const py::tuple initial = new_states(net_, batch.B, request.ds0);
    read_states(dstates, batch.B, request.dsT);
    const auto packed = tape.tape.checkpoints ? packed_weights() : nullptr;
    tape.used = true;
    GradientSums sums;
    {
      const ReleaseIf release(work(batch) > kLongWork);
      try {
        sums = net_.backward(tape.tape, parameters_, packed.get(), request);
      } catch (...) {  // before anything was changed
        tape.used = false;
        throw;
      }
    }
    tape.tape.release();  // what other threads may look at changes under the GIL
    return py::make_tuple(initial, py::make_tuple(sums.before, sums.after, sums.clamped));
  }

  // cells (parts,T,B,H) and gates (parts,T,B,G*H) of a whole tape, each an array or None
  void read_tape(const PyTape<T>& tape, const py::object& cells, const py::object& gates) const {
    require(owns(tape) && !tape.used && !tape.tape.checkpoints, "no tape to read");
    const Batch& batch = tape.tape.batch;
    const auto find = [&](const py::object& given, Index gates_of_row, const char* what) -> T* {
      if (given.is_none()) return nullptr;
      py::array array = py::cast<py::array>(given);
      return dense<T>(array, parts() * batch.T * batch.B * net_.shape().H * gates_of_row, what);
    };
    T* const to_cells = find(cells, 1, "cells are not (parts,T,B,H)");
    T* const to_gates = find(gates, net_.kernel().gates, "gates are not (parts,T,B,G*H)");
    const ReleaseIf release(work(batch) > kLongWork);
    net_.read_tape(tape.tape, to_cells, to_gates);
  }

  // One step of a stream on dense arrays: x (B,I) or (I,), state None, an array or a tuple of arrays, out (B,H) or (H,)
  // or None. With out, state is updated in place. None where anything else came: the caller then checks and converts.
  py::object step(const py::object& x, const py::object& state, const py::object& out) {
    if (!py::isinstance<py::array>(x) || !net_.streams()) return py::none();
    const py::array input = py::reinterpret_borrow<py::array>(x);
    const bool single = input.ndim() == 1;
    if (!is_dense<T>(input) || input.ndim() < 1 || input.ndim() > 2 || input.shape(input.ndim() - 1) != net_.shape().I)
      return py::none();
    const Index B = single ? 1 : input.shape(0);
    py::object next = state;
    T* states[kMaxState];
    const T* before[kMaxState] = {};
    if (!state.is_none()) {
      if (!step_states(state, B, single, states, !out.is_none())) return py::none();
      for (int q = 0; q < net_.kernel().states; ++q) before[q] = states[q];
    }
    if (!out.is_none() && !py::isinstance<py::array>(out)) return py::none();
    py::array y = out.is_none() ? new_output(B, single) : py::reinterpret_borrow<py::array>(out);
    if (!out.is_none()) {
      if (!is_dense<T>(y) || !y.writeable() || y.ndim() != input.ndim() || y.size() != B * net_.outputs() ||
          y.shape(y.ndim() - 1) != net_.outputs())
        return py::none();
    }
    if (out.is_none() || state.is_none()) next = fresh_states(B, single, states);
    if (!out.is_none() && overlap(B, input, y, states)) return py::none();
    run_step(B, static_cast<const T*>(input.data()), before, static_cast<T*>(y.mutable_data()), states);
    return py::make_tuple(y, next);
  }

 private:
  Index parts() const { return Index(net_.parts().size()); }
  double work(const Batch& batch) const {
    return double(batch.R) * double(net_.shape().H) * double(net_.shape().I + net_.shape().H) *
           double(net_.kernel().gates) * double(net_.parts().size());
  }

  Index constant_width() const { return net_.kernel().gates * net_.shape().H; }
  ConstantInput<T> read_constant(const py::object& given, Index B) const {
    if (given.is_none()) return {};
    const auto [array, steps] = py::cast<std::tuple<py::array, Index>>(given);
    require(net_.takes_constant() && steps >= 0, "the first layer takes no constant input");
    return {dense<T>(std::as_const(array), B * constant_width(), "the constant input is not (B,G*H)"), steps};
  }

  static Dropout make_dropout(const py::object& given) {
    if (given.is_none()) return {};
    const auto [outputs, variational, inputs, seed] = py::cast<std::tuple<double, bool, double, uint64_t>>(given);
    return {outputs, variational, inputs, seed, true};
  }

  // The layout of the kernels of the parameters as they are now. While nobody but this object holds their memory,
  // which arrays on it do, nobody can write to it; else they may have changed and are packed for every call.
  std::shared_ptr<const PackedWeights> packed_weights() {
    if (packed_ && packed_at_ == exposures_) return packed_;
    const bool exposed = Py_REFCNT(memory_.ptr()) > 1;
    const std::uint64_t now = exposures_;
    std::shared_ptr<const PackedWeights> packed;
    {
      const ReleaseIf release(double(net_.parameter_count()) > kLongWork / 10);
      packed = std::make_shared<const PackedWeights>(net_.pack(parameters_));
    }
    packed_ = packed;
    packed_at_ = exposed ? kNever : now;
    return packed;
  }

  void read_states(const py::object& states, Index B, const T** at) const {
    const int count = net_.kernel().states;
    for (int q = 0; q < count; ++q) at[q] = nullptr;
    if (states.is_none()) return;
    const py::sequence all = py::cast<py::sequence>(states);
    require(Index(all.size()) == count, "wrong number of states");
    for (int q = 0; q < count; ++q) {
      if (all[size_t(q)].is_none()) continue;
      const py::array a = py::cast<py::array>(all[size_t(q)]);
      at[q] = dense<T>(a, parts() * B * net_.width(q), "a state is not (parts,B,H)");
    }
  }

  py::array new_output(Index B, bool single) const {
    return single ? py::array_t<T>(net_.outputs()) : py::array_t<T>({B, net_.outputs()});
  }

  bool step_states(const py::object& state, Index B, bool single, T** at, bool write) const {
    const int count = net_.kernel().states;
    const bool tuple = py::isinstance<py::tuple>(state);
    if (tuple != (count > 1) || (tuple && int(py::len(state)) != count)) return false;
    for (int q = 0; q < count; ++q) {
      const py::object item = tuple ? py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(state.ptr(), q)) : state;
      if (!py::isinstance<py::array>(item)) return false;
      py::array a = py::reinterpret_borrow<py::array>(item);
      const int n = int(a.ndim());
      if (!is_dense<T>(a) || n != (single ? 2 : 3) || a.shape(0) != parts() || a.shape(n - 1) != net_.width(q) ||
          (!single && a.shape(1) != B) || (write && !a.writeable()))
        return false;
      at[q] = static_cast<T*>(const_cast<void*>(a.data()));
    }
    return true;
  }

  // Whether two of the arrays of a step in place share memory
  bool overlap(Index B, const py::array& x, const py::array& y, T* const* states) const {
    const int count = net_.kernel().states;
    const char* begin[kMaxState + 2] = {static_cast<const char*>(x.data()), static_cast<const char*>(y.data())};
    Index size[kMaxState + 2] = {x.nbytes(), y.nbytes()};
    for (int q = 0; q < count; ++q) {
      begin[q + 2] = reinterpret_cast<const char*>(states[q]);
      size[q + 2] = parts() * B * net_.width(q) * Index(sizeof(T));
    }
    for (int a = 0; a < count + 2; ++a)
      for (int b = 0; b < a; ++b)
        if (begin[a] < begin[b] + size[b] && begin[b] < begin[a] + size[a]) return true;
    return false;
  }

  py::object fresh_states(Index B, bool single, T** at) const {
    py::tuple all(net_.kernel().states);
    for (int q = 0; q < net_.kernel().states; ++q) {
      py::array_t<T> a =
          single ? py::array_t<T>({parts(), net_.width(q)}) : py::array_t<T>({parts(), B, net_.width(q)});
      at[q] = a.mutable_data();
      all[size_t(q)] = a;
    }
    return net_.kernel().states > 1 ? py::object(all) : py::object(all[0]);
  }

  void run_step(Index B, const T* x, const T* const* before, T* y, T* const* after) {
    const Batch batch(1, B, nullptr, nullptr);
    const auto packed = packed_weights();
    const ReleaseIf release(work(batch) > kLongWork);
    net_.forward(batch, *packed, {x, B * net_.shape().I, net_.shape().I}, before,
                 {y, B * net_.outputs(), net_.outputs()}, after, nullptr);
  }

  const std::string isa_;
  const Network<T> net_;
  const std::uint64_t number_;
  py::object memory_;  // base of all arrays of the parameters: its reference count tells whether anybody can write
  T* parameters_;
  static constexpr std::uint64_t kNever = 0;
  std::uint64_t exposures_ = 1, packed_at_ = kNever;  // counts arrays handed out: ever, and when packed_ was made
  std::shared_ptr<const PackedWeights> packed_;
};

template <class T>
void register_typed(py::module_& m, const char* network_name, const char* tape_name) {
  using Net = PyNetwork<T>;
  py::class_<PyTape<T>>(m, tape_name)
      .def_readonly("used", &PyTape<T>::used)
      .def_readonly("segments", &PyTape<T>::segments)
      .def(
          "output",
          [](const PyTape<T>& self, int layer) {  // a copy (T,B,outputs) of a layer but the last, some of it dropped
            const Tape<T>& tape = self.tape;
            const Batch& batch = tape.batch;
            const size_t k = size_t(layer);
            require(k < tape.between.size(), "no such layer");
            return py::array_t<T>({batch.T, batch.B, tape.widths[k]}, tape.between[k].template as<T>());
          },
          py::arg("layer"))
      .def_property_readonly("steps", [](const PyTape<T>& t) { return t.tape.batch.T; })
      .def_property_readonly("batch", [](const PyTape<T>& t) { return t.tape.batch.B; });
  py::class_<Net>(m, network_name)
      .def(py::init<const std::string&, Index, Index, Index, const std::vector<int>&, int, bool,
                    const std::tuple<double, double, double>&, bool, const std::string&>(),
           py::arg("cell"), py::arg("input_size"), py::arg("hidden_size"), py::arg("output_size"),
           py::arg("directions"), py::arg("biases"), py::arg("learn_state"), py::arg("noise"), py::arg("bfloat16"),
           py::arg("isa"))
      .def_property_readonly("isa", &Net::isa)
      .def_property_readonly("kernel", &Net::kernel)
      .def_property_readonly("flat", &Net::flat)
      .def("layout", &Net::layout)
      .def("owns", &Net::owns, py::arg("tape"))
      .def("read_tape", &Net::read_tape, py::arg("tape"), py::arg("cells"), py::arg("gates"))
      .def("forward", &Net::forward, py::arg("x"), py::arg("states"), py::arg("lengths"), py::arg("reset"),
           py::arg("y"), py::arg("training"), py::arg("workspace"), py::arg("dropout"), py::arg("constant"))
      .def_property_readonly("begins", &Net::begins)
      .def("backward", &Net::backward, py::arg("tape"), py::arg("dy"), py::arg("dstates"), py::arg("dx"),
           py::arg("gradients"), py::arg("fresh"), py::arg("step_value"), py::arg("step_norm"), py::arg("value"),
           py::arg("trace"), py::arg("norms"), py::arg("d_constant"))
      .def("step", &Net::step, py::arg("x"), py::arg("state"), py::arg("out"));
}
}  // namespace

template <class T>
NetworkView<T> view_of(const py::object& network) {
  return py::cast<PyNetwork<T>&>(network).view();
}
template NetworkView<float> view_of<float>(const py::object&);
template NetworkView<double> view_of<double>(const py::object&);

void register_network(py::module_& m) {
  register_typed<float>(m, "NetworkF32", "TapeF32");
  register_typed<double>(m, "NetworkF64", "TapeF64");
}
}  // namespace fastrnn
