// SPDX-License-Identifier: MIT
// Networks and tapes. Kernels run without the GIL where they last longer than handing it over.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <tuple>
#include "dispatch.h"
#include "explain.h"
#include "network.h"
#include "network_arguments.h"
#include "network_view.h"
#include "register.h"
#include "stream_step.h"
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
      : PyNetwork(cell, read_shape(input_size, hidden_size, output_size, directions, biases, learn_state, noise),
                  bfloat16, isa) {}
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
  std::vector<py::tuple> layout() const { return layout_of(net_); }

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
    Batch batch = read_batch(steps, batch_size, lengths, reset);
    const T* s0[kMaxState];
    T* sT[kMaxState];
    const py::tuple final_states = new_states(net_, batch_size, sT);
    read_states(net_, states, batch_size, s0);
    const ConstantInput<T> added = read_constant(constant, batch_size);
    const auto packed = packed_weights();
    std::unique_ptr<PyTape<T>> tape;
    if (training) tape.reset(new PyTape<T>{{batch, read_dropout(dropout), {}, 0, {}, {}, {}, {}, {}}, number_});
    if (training && workspace) tape->tape.checkpoints = net_.plan(batch, *workspace);
    if (tape && tape->tape.checkpoints) tape->segments = tape->tape.checkpoints->segments();
    {
      const ReleaseIf release(work(batch) > kLongWork);
      net_.forward(batch, *packed, x_rows, s0, y_rows, sT, tape ? &tape->tape : nullptr, added);
    }
    return py::make_tuple(final_states, tape ? py::cast(std::move(tape)) : py::none());
  }

  py::dict explain(Index steps, Index B, size_t part, bool backward) const {
    return explain_part(net_, {steps, B, nullptr, nullptr}, part, backward);
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
    BackwardRequest<T> request = read_request<T>(net_, batch, tape.tape.constant.template as<T>() != nullptr, dy, dx,
                                                 gradients, norms, d_constant);
    request.fresh = fresh, request.step_value = step_value, request.step_norm = step_norm, request.value = value;
    request.trace = trace;
    const py::tuple initial = new_states(net_, batch.B, request.ds0);
    read_states(net_, dstates, batch.B, request.dsT);
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

  py::object step(const py::object& x, const py::object& state, const py::object& out) {
    return stream_step<T>(net_, x, state, out, [this](auto... arguments) { run_step(arguments...); });
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
      .def("explain", &Net::explain, py::arg("T"), py::arg("B"), py::arg("part"), py::arg("backward"))
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
