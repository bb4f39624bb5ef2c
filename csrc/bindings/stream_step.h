// SPDX-License-Identifier: MIT
// What one step of a stream is given and gives, for networks of any device.
#pragma once
#include "network_layout.h"
#include "register.h"
namespace fastrnn {

// The arrays of a step of B rows; or of one, `single`, without its axis
template <class T>
struct StepArrays {
  const NetworkLayout& net;
  const Index B;
  const bool single;

  Index parts() const { return Index(net.parts().size()); }

  py::array new_output() const { return single ? py::array_t<T>(net.outputs()) : py::array_t<T>({B, net.outputs()}); }
  bool is_output(const py::array& y) const {
    return is_dense<T>(y) && y.writeable() && y.ndim() == (single ? 1 : 2) && y.size() == B * net.outputs() &&
           y.shape(y.ndim() - 1) == net.outputs();
  }

  py::object new_states(T** at) const {
    py::tuple all(net.cell().states);
    for (int q = 0; q < net.cell().states; ++q) {
      py::array_t<T> a = single ? py::array_t<T>({parts(), net.width(q)}) : py::array_t<T>({parts(), B, net.width(q)});
      at[q] = a.mutable_data();
      all[size_t(q)] = a;
    }
    return net.cell().states > 1 ? py::object(all) : py::object(all[0]);
  }

  // Where the states lie, an array or a tuple of them; false where they are anything but dense arrays of their shapes
  bool find_states(const py::object& state, T** at, bool write) const {
    const int count = net.cell().states;
    const bool tuple = py::isinstance<py::tuple>(state);
    if (tuple != (count > 1) || (tuple && int(py::len(state)) != count)) return false;
    for (int q = 0; q < count; ++q) {
      const py::object item = tuple ? py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(state.ptr(), q)) : state;
      if (!py::isinstance<py::array>(item)) return false;
      py::array a = py::reinterpret_borrow<py::array>(item);
      const int n = int(a.ndim());
      if (!is_dense<T>(a) || n != (single ? 2 : 3) || a.shape(0) != parts() || a.shape(n - 1) != net.width(q) ||
          (!single && a.shape(1) != B) || (write && !a.writeable()))
        return false;
      at[q] = static_cast<T*>(const_cast<void*>(a.data()));
    }
    return true;
  }

  // Whether two of the arrays of a step in place share memory
  bool overlap(const py::array& x, const py::array& y, T* const* states) const {
    const int count = net.cell().states;
    const char* begin[kMaxState + 2] = {static_cast<const char*>(x.data()), static_cast<const char*>(y.data())};
    Index size[kMaxState + 2] = {x.nbytes(), y.nbytes()};
    for (int q = 0; q < count; ++q) {
      begin[q + 2] = reinterpret_cast<const char*>(states[q]);
      size[q + 2] = parts() * B * net.width(q) * Index(sizeof(T));
    }
    for (int a = 0; a < count + 2; ++a)
      for (int b = 0; b < a; ++b)
        if (begin[a] < begin[b] + size[b] && begin[b] < begin[a] + size[a]) return true;
    return false;
  }
};

// One step of a stream on dense arrays: x (B,I) or (I,), state None, an array or a tuple of arrays, out (B,H) or (H,)
// or None. With out, state is updated in place. None where anything else came: the caller then checks and converts.
// run(B, x, states before, y, states after)
template <class T, class Run>
py::object stream_step(const NetworkLayout& net, const py::object& x, const py::object& state, const py::object& out,
                       const Run& run) {
  if (!py::isinstance<py::array>(x) || !net.streams()) return py::none();
  const py::array input = py::reinterpret_borrow<py::array>(x);
  if (!is_dense<T>(input) || input.ndim() < 1 || input.ndim() > 2 || input.shape(input.ndim() - 1) != net.shape().I)
    return py::none();
  const bool single = input.ndim() == 1;
  const StepArrays<T> arrays{net, single ? 1 : input.shape(0), single};
  py::object next = state;
  T* states[kMaxState];
  const T* before[kMaxState] = {};
  if (!state.is_none()) {
    if (!arrays.find_states(state, states, !out.is_none())) return py::none();
    for (int q = 0; q < net.cell().states; ++q) before[q] = states[q];
  }
  if (!out.is_none() && !py::isinstance<py::array>(out)) return py::none();
  py::array y = out.is_none() ? arrays.new_output() : py::reinterpret_borrow<py::array>(out);
  if (!out.is_none() && !arrays.is_output(y)) return py::none();
  if (out.is_none() || state.is_none()) next = arrays.new_states(states);
  if (!out.is_none() && arrays.overlap(input, y, states)) return py::none();
  run(arrays.B, static_cast<const T*>(input.data()), static_cast<const T* const*>(before),
      static_cast<T*>(y.mutable_data()), static_cast<T* const*>(states));
  return py::make_tuple(y, next);
}

}  // namespace fastrnn
