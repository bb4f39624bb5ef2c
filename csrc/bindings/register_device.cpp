// SPDX-License-Identifier: MIT
// Networks on a device, with the functions of those of the CPU (register_network.cpp), on arrays of NumPy: they are
// copied there and back, and a call returns when its results are there.
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include "device/network.h"
#include "device_array_calls.h"
#include "device_kernel.h"
#include "device_transfer.h"
#include "explain.h"
#include "network_arguments.h"
#include "stream_step.h"
namespace fastrnn {
namespace {
std::uint64_t networks_made = 0;  // changed under the GIL

template <class T>
struct PyDeviceTape {
  DeviceTape<T> tape;
  std::uint64_t network;
  int device;
  std::vector<Index> widths;  // outputs of each layer
  bool of_arrays = false;  // of the device: of a forward call that nothing has waited for
  bool used = false;
  int segments = 1;

  ~PyDeviceTape() { tape.order.settle(device); }

  // A copy (T,B,outputs) of a layer but the last, some of it dropped
  py::array output(int layer) const {
    require(size_t(layer) < tape.between.size(), "no such layer");
    py::array_t<T> to({tape.batch.T, tape.batch.B, widths[size_t(layer)]});
    const DeviceSession session(device);
    tape.order.publish(session, session.stream());
    session.copy(tape.between[size_t(layer)].template as<T>(), Index(to.size()), to.mutable_data());
    session.synchronize("output");
    return to;
  }
};

template <class T>
class PyDeviceNetwork {
 public:
  PyDeviceNetwork(const std::string& cell, Index input_size, Index hidden_size, Index output_size,
                  const std::vector<int>& directions, int biases, bool learn_state,
                  const std::tuple<double, double, double>& noise, const std::string& arithmetic, int device)
      : PyDeviceNetwork(cell, read_shape(input_size, hidden_size, output_size, directions, biases, learn_state, noise),
                        arithmetic, device) {}
  PyDeviceNetwork(const std::string& cell, const NetworkShape& shape, const std::string& arithmetic, int device)
      : net_(find_kernel<T>(cell, arithmetic, shape.masked()), shape), device_(device), number_(++networks_made) {
    const DeviceSession session(device);  // the device is there
    Buffer buffer = buffer_of<T>(net_.parameter_count());
    parameters_ = buffer.as<T>();
    std::fill_n(parameters_, net_.parameter_count(), T(0));
    memory_ = py::cast(std::make_unique<Memory>(Memory{std::move(buffer)}));
  }

  const char* isa() const { return "cuda"; }
  std::string kernel() const { return net_.kernel().id; }
  int device() const { return device_; }
  std::vector<py::tuple> layout() const { return layout_of(net_); }
  py::dict explain(Index steps, Index B, size_t part, bool backward, bool control) const {
    return explain_part(net_, device_, {steps, B, nullptr, nullptr}, part, backward, control);
  }
  bool owns(const PyDeviceTape<T>& tape) const { return tape.network == number_; }

  py::array flat() {
    ++exposures_;
    return py::array_t<T>(net_.parameter_count(), parameters_, memory_);
  }

  // As PyNetwork::forward
  py::tuple forward(const py::array& x, const py::object& states, const py::object& lengths, const py::object& reset,
                    py::array y, bool training, const std::optional<double>& workspace, const py::object& dropout,
                    const py::object& constant) {
    const Index steps = x.shape(0), B = x.shape(1);
    const Rows<const T> x_rows = rows<T>(x, net_.shape().I, "x is not (T,B,I) with contiguous rows");
    require(y.ndim() == 3 && y.shape(0) == steps && y.shape(1) == B, "y does not match x");
    const Rows<T> y_rows = rows<T>(y, net_.outputs(), "y is not (T,B,D*H) with contiguous rows");
    const Batch batch = read_batch(steps, B, lengths, reset);
    const T* s0[kMaxState];
    T* sT[kMaxState];
    const py::tuple final_states = new_states(net_, B, sT);
    read_states(net_, states, B, s0);
    const ConstantInput<T> added = read_constant(constant, B);
    std::unique_ptr<PyDeviceTape<T>> tape;
    if (training) tape.reset(new PyDeviceTape<T>{{batch, read_dropout(dropout)}, number_, device_, output_widths()});
    {
      const Exposure exposure = exposed();
      const py::gil_scoped_release release;
      if (tape && workspace) tape->tape.checkpoints = net_.plan(DeviceSession(device_), batch, *workspace);
      run_forward(batch, x_rows, s0, y_rows, sT, added, tape ? &tape->tape : nullptr, exposure);
    }
    if (tape && tape->tape.checkpoints) tape->segments = tape->tape.checkpoints->segments();
    return py::make_tuple(final_states, tape ? py::cast(std::move(tape)) : py::none());
  }

  // As PyNetwork::backward
  py::tuple backward(PyDeviceTape<T>& tape, const py::array& dy, const py::object& dstates, const py::object& dx,
                     py::array gradients, bool fresh, T step_value, double step_norm, T value, bool trace,
                     const py::object& norms, const py::object& d_constant) {
    require(owns(tape) && !tape.used, "tape is used or of another network");
    const Batch& batch = tape.tape.batch;
    BackwardRequest<T> host = read_request<T>(net_, batch, tape.tape.constant.template as<T>() != nullptr, dy, dx,
                                              gradients, norms, d_constant);
    host.fresh = fresh, host.step_value = step_value, host.step_norm = step_norm, host.value = value;
    host.trace = trace;
    const py::tuple initial = new_states(net_, batch.B, host.ds0);
    read_states(net_, dstates, batch.B, host.dsT);
    tape.used = true;
    double sums[3] = {};
    try {
      const py::gil_scoped_release release;
      run_backward(tape.tape, host, sums);
    } catch (const std::bad_alloc&) {  // before anything was changed
      tape.used = false;
      throw;
    }
    drop(tape);
    return py::make_tuple(initial, py::make_tuple(sums[0], sums[1], sums[2]));
  }

  // The same on arrays of the device (device_array_calls.h): y (T,B,D*H), the final states, a tape
  py::tuple forward_arrays(const DeviceArray& x, const States& states, const py::object& lengths,
                           const py::object& reset, bool training, const py::object& dropout,
                           const ConstantArray& constant, bool batch_first, const std::optional<DeviceArray>& out) {
    require(x.shape.size() == 3, "x is not (T,B,I)");
    const Batch batch = read_batch(x.shape[0], x.shape[1], lengths, reset);
    std::unique_ptr<PyDeviceTape<T>> tape;
    if (training)
      tape.reset(new PyDeviceTape<T>{{batch, read_dropout(dropout)}, number_, device_, output_widths(), true});
    const Exposure exposure = exposed();
    const auto run = [&] {
      const py::gil_scoped_release release;
      return fastrnn::forward_arrays(net_, device_, batch, x, states, constant, batch_first, out,
                                     tape ? &tape->tape : nullptr,
                                     [&](const DeviceSession& session) { return packed_weights(session, exposure); });
    };
    ForwardArrays results = run();
    return py::make_tuple(std::move(results.y), std::move(results.states),
                          tape ? py::cast(std::move(tape)) : py::none());
  }

  // Returns dx or None, dstates, the gradients of the parameters, sums, norms and d_constant or None
  py::tuple backward_arrays(PyDeviceTape<T>& tape, const std::optional<DeviceArray>& dy, const States& dstates,
                            bool x_gradient, const std::optional<DeviceArray>& flat, T step_value, double step_norm,
                            T value, bool trace, bool measure, bool batch_first) {
    require(owns(tape) && !tape.used, "tape is used or of another network");
    BackwardRequest<T> limits{};
    limits.step_value = step_value, limits.step_norm = step_norm, limits.value = value, limits.trace = trace;
    tape.used = true;
    const auto run = [&] {
      const py::gil_scoped_release release;
      return fastrnn::backward_arrays(net_, device_, tape.tape, dy, dstates, x_gradient, flat, measure, batch_first,
                                      limits);
    };
    BackwardArrays results;
    try {
      results = run();
    } catch (const std::bad_alloc&) {  // before anything was changed
      tape.used = false;
      throw;
    }
    drop(tape);
    return py::make_tuple(std::move(results.dx), std::move(results.states), std::move(results.gradients),
                          std::move(results.sums), std::move(results.norms), std::move(results.constant));
  }

  auto read_tape_arrays(PyDeviceTape<T>& tape, bool cells, bool gates) const {
    require(owns(tape) && !tape.used, "no tape to read");
    return fastrnn::read_tape_arrays(net_, device_, tape.tape, cells, gates);
  }

  // As PyNetwork::read_tape
  void read_tape(const PyDeviceTape<T>& tape, const py::object& cells, const py::object& gates) const {
    require(owns(tape) && !tape.used && !tape.tape.checkpoints, "no tape to read");
    const Index count = parts() * tape.tape.batch.T * tape.tape.batch.B * net_.shape().H;
    const auto find = [&](const py::object& given, Index n, const char* what) -> T* {
      if (given.is_none()) return nullptr;
      py::array array = py::cast<py::array>(given);
      return dense<T>(array, n, what);
    };
    T* const to_cells = find(cells, count, "cells are not (parts,T,B,H)");
    const Index gate_count = count * net_.kernel().gates;
    T* const to_gates = find(gates, gate_count, "gates are not (parts,T,B,G*H)");
    const py::gil_scoped_release release;
    const DeviceSession session(device_);
    tape.tape.order.publish(session, session.stream());
    DeviceTransfer transfer(session);
    T* const on_cells = to_cells ? transfer.result(to_cells, count) : nullptr;
    T* const on_gates = to_gates ? transfer.result(to_gates, gate_count) : nullptr;
    if (count) net_.read_tape(session, tape.tape, on_cells, on_gates);
    transfer.finish("read_tape");
  }

  py::object step(const py::object& x, const py::object& state, const py::object& out) {
    return stream_step<T>(net_, x, state, out,
                          [this](Index B, const T* x_t, const T* const* before, T* y, T* const* after) {
                            const Batch batch(1, B, nullptr, nullptr);
                            const Index I = net_.shape().I, O = net_.outputs();
                            const Exposure exposure = exposed();
                            const py::gil_scoped_release release;
                            run_forward(batch, {x_t, B * I, I}, before, {y, B * O, O}, after, {}, nullptr, exposure);
                          });
  }

 private:
  // Whether the parameters may have changed since they were packed, as packed_weights of PyNetwork finds out
  struct Exposure {
    bool changed, exposed;
    std::uint64_t now;
  };

  // Memory that a used tape needs no more
  static void drop(PyDeviceTape<T>& tape) {
    tape.tape.order.settle(tape.device);
    tape.tape = DeviceTape<T>(Batch(tape.tape.batch), {});
  }

  Index parts() const { return Index(net_.parts().size()); }
  std::vector<Index> output_widths() const {
    std::vector<Index> widths;
    for (int layer = 0; layer < net_.layers(); ++layer) widths.push_back(net_.outputs(layer));
    return widths;
  }
  Index constant_width() const { return net_.kernel().gates * net_.shape().H; }
  ConstantInput<T> read_constant(const py::object& given, Index B) const {
    if (given.is_none()) return {};
    const auto [array, steps] = py::cast<std::tuple<py::array, Index>>(given);
    require(net_.takes_constant() && steps >= 0, "the first layer takes no constant input");
    return {dense<T>(std::as_const(array), B * constant_width(), "the constant input is not (B,G*H)"), steps};
  }

  Exposure exposed() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return {!weights_ || packed_at_ != exposures_, Py_REFCNT(memory_.ptr()) > 1, exposures_};
  }

  std::shared_ptr<const DeviceWeights> packed_weights(const DeviceSession& session, const Exposure& exposure) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (exposure.changed) {
      const int device = device_;
      auto packed = std::make_unique<DeviceWeights>(net_.pack(session, parameters_));
      packed->order.write(session);
      weights_ = std::shared_ptr<const DeviceWeights>(packed.release(), [device](const DeviceWeights* weights) {
        weights->order.settle(device);  // calls on other streams have read them
        delete weights;
      });
      packed_at_ = exposure.exposed ? kNever : exposure.now;
    }
    weights_->order.read(session);
    return weights_;
  }

  void run_forward(const Batch& batch, Rows<const T> x, const T* const* s0, Rows<T> y, T* const* sT,
                   ConstantInput<T> constant, DeviceTape<T>* tape, const Exposure& exposure) {
    const DeviceSession session(device_);
    DeviceTransfer transfer(session);
    const auto weights = packed_weights(session, exposure);
    DeviceBatch rows(session, batch);
    DeviceBuffer on_x, on_constant, on_s0[kMaxState];
    const Rows<const T> device_x = transfer.upload(x, batch.T, batch.B, net_.shape().I, on_x);
    const Rows<T> device_y = transfer.result(y, batch.T, batch.B, net_.outputs());
    if (constant.p) constant.p = transfer.upload(constant.p, batch.B * constant_width(), on_constant);
    const T* device_s0[kMaxState] = {};
    T* device_sT[kMaxState] = {};
    for (int q = 0; q < net_.kernel().states; ++q) {
      const Index count = parts() * batch.B * net_.width(q);
      if (s0[q]) device_s0[q] = transfer.upload(s0[q], count, on_s0[q]);
      device_sT[q] = transfer.result(sT[q], count);
    }
    if (tape) {
      tape->order.write(session);
      tape->weights = weights, tape->x = std::move(on_x), tape->rows = std::move(rows);
      tape->constant = std::move(on_constant), tape->constant_steps = constant.steps;
    }
    net_.forward(session, batch, tape ? tape->rows : rows, *weights, device_x, device_s0, device_y, device_sT, tape,
                 constant);
    transfer.finish(net_.kernel().id);
  }

  void run_backward(DeviceTape<T>& tape, const BackwardRequest<T>& host, double* sums) {
    const Batch& batch = tape.batch;
    const DeviceSession session(device_);
    DeviceTransfer transfer(session);
    tape.weights->order.read(session);
    tape.order.write(session);
    BackwardRequest<T> request = host;
    DeviceBuffer on_dy, on_dsT[kMaxState];
    request.dy = transfer.upload(host.dy, batch.T, batch.B, net_.outputs(), on_dy);
    if (host.dx.p) request.dx = transfer.result(host.dx, batch.T, batch.B, net_.shape().I);
    for (int q = 0; q < net_.kernel().states; ++q) {
      const Index count = parts() * batch.B * net_.width(q);
      if (host.dsT[q]) request.dsT[q] = transfer.upload(host.dsT[q], count, on_dsT[q]);
      request.ds0[q] = transfer.result(host.ds0[q], count);
    }
    if (host.d_constant) request.d_constant = transfer.result(host.d_constant, batch.B * constant_width());
    request.gradients = transfer.result(host.gradients, net_.parameter_count());
    if (!host.fresh) session.copy(host.gradients, net_.parameter_count(), request.gradients);
    const Index norm_count = 4 * parts() * batch.T * batch.B;
    if (host.norms) {
      request.norms = reinterpret_cast<StepNorms*>(transfer.result(reinterpret_cast<double*>(host.norms), norm_count));
      session.zero(reinterpret_cast<double*>(request.norms), norm_count);
    }
    std::vector<double> all(static_cast<size_t>(net_.sums_count()));
    double* const on_sums = transfer.result(all.data(), net_.sums_count());
    net_.backward(session, tape, request, on_sums);
    transfer.finish(net_.kernel().id);
    for (size_t k = 0; k < all.size(); ++k) sums[k % 3] += all[k];
  }

  const DeviceNetwork<T> net_;
  const int device_;
  const std::uint64_t number_;
  py::object memory_;  // base of all arrays of the parameters: its reference count tells whether anybody can write
  T* parameters_;
  static constexpr std::uint64_t kNever = 0;
  std::uint64_t exposures_ = 1, packed_at_ = kNever;
  mutable std::mutex mutex_;  // of weights_ and packed_at_, which are set without the GIL
  std::shared_ptr<const DeviceWeights> weights_;
};

template <class T>
void register_typed(py::module_& m, const char* network_name, const char* tape_name) {
  using Net = PyDeviceNetwork<T>;
  using Tape = PyDeviceTape<T>;
  py::class_<Tape>(m, tape_name)
      .def_readonly("used", &Tape::used)
      .def("output", &Tape::output, py::arg("layer"))
      .def_readonly("of_arrays", &Tape::of_arrays)
      .def_readonly("segments", &Tape::segments)
      .def_property_readonly("steps", [](const Tape& t) { return t.tape.batch.T; })
      .def_property_readonly("batch", [](const Tape& t) { return t.tape.batch.B; });
  py::class_<Net>(m, network_name)
      .def(py::init<const std::string&, Index, Index, Index, const std::vector<int>&, int, bool,
                    const std::tuple<double, double, double>&, const std::string&, int>(),
           py::arg("cell"), py::arg("input_size"), py::arg("hidden_size"), py::arg("output_size"),
           py::arg("directions"), py::arg("biases"), py::arg("learn_state"), py::arg("noise"), py::arg("arithmetic"),
           py::arg("device"))
      .def_property_readonly("isa", &Net::isa)
      .def_property_readonly("kernel", &Net::kernel)
      .def_property_readonly("device", &Net::device)
      .def_property_readonly("flat", &Net::flat)
      .def("layout", &Net::layout)
      .def_property_readonly("begins", [](const Net&) { return false; })
      .def("owns", &Net::owns, py::arg("tape"))
      .def("explain", &Net::explain, py::arg("T"), py::arg("B"), py::arg("part"), py::arg("backward"),
           py::arg("control"))
      .def("read_tape", &Net::read_tape, py::arg("tape"), py::arg("cells"), py::arg("gates"))
      .def("forward", &Net::forward, py::arg("x"), py::arg("states"), py::arg("lengths"), py::arg("reset"),
           py::arg("y"), py::arg("training"), py::arg("workspace"), py::arg("dropout"), py::arg("constant"))
      .def("backward", &Net::backward, py::arg("tape"), py::arg("dy"), py::arg("dstates"), py::arg("dx"),
           py::arg("gradients"), py::arg("fresh"), py::arg("step_value"), py::arg("step_norm"), py::arg("value"),
           py::arg("trace"), py::arg("norms"), py::arg("d_constant"))
      .def("step", &Net::step, py::arg("x"), py::arg("state"), py::arg("out"))
      .def("forward_arrays", &Net::forward_arrays, py::arg("x"), py::arg("states"), py::arg("lengths"),
           py::arg("reset"), py::arg("training"), py::arg("dropout"), py::arg("constant"), py::arg("batch_first"),
           py::arg("out"))
      .def("backward_arrays", &Net::backward_arrays, py::arg("tape"), py::arg("dy"), py::arg("dstates"),
           py::arg("x_gradient"), py::arg("flat"), py::arg("step_value"), py::arg("step_norm"), py::arg("value"),
           py::arg("trace"), py::arg("measure"), py::arg("batch_first"))
      .def("read_tape_arrays", &Net::read_tape_arrays, py::arg("tape"), py::arg("cells"), py::arg("gates"));
}
}  // namespace

void register_device(py::module_& m) {
  register_typed<float>(m, "DeviceNetworkF32", "DeviceTapeF32");
  register_typed<double>(m, "DeviceNetworkF64", "DeviceTapeF64");
}
}  // namespace fastrnn
