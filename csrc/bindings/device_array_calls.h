// SPDX-License-Identifier: MIT
// Calls of a network on arrays of its device, which are taken and returned without a copy. Nothing waits.
#pragma once
#include <utility>
#include "device/network.h"
#include "device_array.h"
#include "device_transfer.h"
namespace fastrnn {

template <class T>
constexpr Dtype kDtype{'f', sizeof(T)};

template <class T>
T* dense(const DeviceArray& a, Index size, const char* what) {
  require(a.dtype == kDtype<T> && a.dense() && a.size() == size && reinterpret_cast<size_t>(a.data) % alignof(T) == 0,
          what);
  return reinterpret_cast<T*>(a.data);
}

// (T,B,n) with contiguous rows
template <class T>
Rows<T> rows(const DeviceArray& a, Index steps, Index batch, Index n, const char* what) {
  constexpr Index item = sizeof(T);
  require(a.dtype == kDtype<T> && a.shape == std::vector<Index>{steps, batch, n}, what);
  if (a.size() == 0) return {reinterpret_cast<T*>(a.data), batch * n, n};
  require((n < 2 || a.strides[2] == item) && a.strides[0] % item == 0 && a.strides[1] % item == 0 &&
              reinterpret_cast<size_t>(a.data) % alignof(T) == 0,
          what);
  return {reinterpret_cast<T*>(a.data), a.strides[0] / item, a.strides[1] / item};
}

// What one call works on, and whose memory it is
template <class T>
class ArrayCall {
 public:
  ArrayCall(const DeviceNetwork<T>& net, int device, Index steps, Index batch, bool batch_first)
      : net_(net), call_(device), steps_(steps), batch_(batch), batch_first_(batch_first) {}

  const DeviceSession& session() const { return call_.session(); }

  // An argument, ready to be read, or written
  const DeviceArray& reads(const DeviceArray& a) {
    a.memory->order().read(session());
    used_.push_back(a.memory);
    return a;
  }
  const DeviceArray& writes(const DeviceArray& a) {
    require(!a.readonly, "an array that is written to is read-only");
    a.memory->order().write(session());
    used_.push_back(a.memory);
    return a;
  }

  // New rows (T,B,n), laid out as (B,T,n) with batch_first
  DeviceArray new_rows(Index n) const {
    if (!batch_first_) return new_array(session(), kDtype<T>, {steps_, batch_, n});
    DeviceArray a = new_array(session(), kDtype<T>, {batch_, steps_, n});
    std::swap(a.shape[0], a.shape[1]);
    std::swap(a.strides[0], a.strides[1]);
    return a;
  }

  Rows<T> rows_of(const DeviceArray& a, Index n, const char* what) const { return rows<T>(a, steps_, batch_, n, what); }

  // New arrays (parts,B,n), one a state, and where they lie
  std::vector<DeviceArray> new_states(T** at) const {
    std::vector<DeviceArray> all;
    for (int q = 0; q < net_.kernel().states; ++q) {
      all.push_back(new_array(session(), kDtype<T>, {parts(), batch_, net_.width(q)}));
      at[q] = reinterpret_cast<T*>(all.back().data);
    }
    return all;
  }

  // Empty, or one array (parts,B,n) or none a state
  void read_states(const std::vector<std::optional<DeviceArray>>& given, const T** at) {
    for (int q = 0; q < net_.kernel().states; ++q) at[q] = nullptr;
    if (given.empty()) return;
    require(Index(given.size()) == net_.kernel().states, "wrong number of states");
    for (size_t q = 0; q < given.size(); ++q)
      if (given[q])
        at[q] = dense<T>(reads(*given[q]), parts() * batch_ * net_.width(int(q)), "a state is not (parts,B,H)");
  }

  Index parts() const { return Index(net_.parts().size()); }
  Index constant_width() const { return net_.kernel().gates * net_.shape().H; }

  void end() {
    for (const auto& memory : used_) memory->end_of_call(session());
    call_.end();
  }

 private:
  const DeviceNetwork<T>& net_;
  DeviceCall call_;
  const Index steps_, batch_;
  const bool batch_first_;
  std::vector<std::shared_ptr<DeviceMemory>> used_;
};

using States = std::vector<std::optional<DeviceArray>>;
using ConstantArray = std::optional<std::pair<DeviceArray, Index>>;

struct ForwardArrays {
  DeviceArray y;
  std::vector<DeviceArray> states;
};

// x (T,B,I); out: where y goes, and the final states then where the initial ones are. weights_of(session): those of the
// parameters as they are
template <class T, class PackedWeights>
ForwardArrays forward_arrays(const DeviceNetwork<T>& net, int device, const Batch& batch, const DeviceArray& x,
                             const States& states, const ConstantArray& constant, bool batch_first,
                             const std::optional<DeviceArray>& out, DeviceTape<T>* tape,
                             const PackedWeights& weights_of) {
  ArrayCall<T> call(net, device, batch.T, batch.B, batch_first);
  const DeviceSession& session = call.session();
  const Index I = net.shape().I;
  Rows<T> x_rows = call.rows_of(call.reads(x), I, "x is not (T,B,I) with contiguous rows");
  const T* s0[kMaxState];
  call.read_states(states, s0);
  ConstantInput<T> added;
  if (constant) {
    require(net.takes_constant() && constant->second >= 0, "the first layer takes no constant input");
    added = {dense<T>(call.reads(constant->first), batch.B * call.constant_width(), "the constant is not (B,G*H)"),
             constant->second};
  }
  const std::shared_ptr<const DeviceWeights> weights = weights_of(session);
  ForwardArrays results{out ? call.writes(*out) : call.new_rows(net.outputs()), {}};
  T* sT[kMaxState];
  if (out && !states.empty()) {
    for (size_t q = 0; q < states.size(); ++q) call.writes(states[q].value()), sT[q] = const_cast<T*>(s0[q]);
  } else {
    results.states = call.new_states(sT);
  }
  DeviceBatch rows(session, batch);
  if (tape) {
    tape->order.write(session);
    tape->weights = weights, tape->rows = std::move(rows);
    if (added.p) {
      tape->constant = session.allocate<T>(batch.B * call.constant_width());
      session.copy(added.p, batch.B * call.constant_width(), tape->constant.template as<T>());
      tape->constant_steps = added.steps;
    }
    if (tape->dropout.inputs > 0) {  // a copy is masked
      require(in_one_piece(x_rows, batch.T, batch.B, I), "x with input_dropout is not in one piece");
      tape->x = session.allocate<T>(batch.T * batch.B * I);
      session.copy(static_cast<const T*>(x_rows.p), batch.T * batch.B * I, tape->x.template as<T>());
      x_rows.p = tape->x.template as<T>();
    }
  }
  net.forward(session, batch, tape ? tape->rows : rows, *weights, {x_rows.p, x_rows.step, x_rows.row}, s0,
              call.rows_of(results.y, net.outputs(), "y"), sT, tape, added);
  if (tape) tape->x_rows = {};  // kernels keep what they need of it
  call.end();
  return results;
}

struct BackwardArrays {
  std::optional<DeviceArray> dx;
  std::vector<DeviceArray> states;
  DeviceArray gradients, sums;  // sums (sums_count()) of double
  std::optional<DeviceArray> norms, constant;  // norms (parts,T,B,4) of double
};

// dy (T,B,D*H), none: zeros; flat: an array that gradients are added to; limits: what callers fill in of the request
template <class T>
BackwardArrays backward_arrays(const DeviceNetwork<T>& net, int device, DeviceTape<T>& tape,
                               const std::optional<DeviceArray>& dy, const States& dstates, bool x_gradient,
                               const std::optional<DeviceArray>& flat, bool measure, bool batch_first,
                               BackwardRequest<T> request) {
  const Batch& batch = tape.batch;
  ArrayCall<T> call(net, device, batch.T, batch.B, batch_first);
  const DeviceSession& session = call.session();
  const Index outputs = net.outputs(), I = net.shape().I, count = net.parameter_count();
  BackwardArrays results{};
  DeviceBuffer zeros;
  if (dy) {
    const Rows<T> given = call.rows_of(call.reads(*dy), outputs, "dy is not (T,B,D*H) with contiguous rows");
    request.dy = {given.p, given.step, given.row};
  } else {  // one row for all
    zeros = session.allocate<T>(outputs);
    session.zero(zeros.as<T>(), outputs);
    request.dy = {zeros.as<T>(), 0, 0};
  }
  call.read_states(dstates, request.dsT);
  if (x_gradient) {
    results.dx = call.new_rows(I);
    request.dx = call.rows_of(*results.dx, I, "dx");
  }
  results.states = call.new_states(request.ds0);
  results.gradients = flat ? call.writes(*flat) : new_array(session, kDtype<T>, {count});
  request.gradients = dense<T>(results.gradients, count, "flat is not like the parameters");
  request.fresh = !flat;
  if (tape.constant.template as<T>()) {
    results.constant = new_array(session, kDtype<T>, {batch.B, call.constant_width()});
    request.d_constant = reinterpret_cast<T*>(results.constant->data);
  }
  if (measure) {
    results.norms = new_array(session, kDtype<double>, {call.parts(), batch.T, batch.B, 4});
    session.zero(results.norms->data, results.norms->size() * Index(sizeof(double)));
    request.norms = reinterpret_cast<StepNorms*>(results.norms->data);
  }
  results.sums = new_array(session, kDtype<double>, {net.sums_count()});
  tape.weights->order.read(session);
  tape.order.write(session);
  net.backward(session, tape, request, reinterpret_cast<double*>(results.sums.data));
  call.end();
  return results;
}

// Cells (parts,T,B,H) and gates (parts,T,B,G*H) of a tape before backward, those that are asked for
template <class T>
std::pair<std::optional<DeviceArray>, std::optional<DeviceArray>> read_tape_arrays(const DeviceNetwork<T>& net,
                                                                                   int device, DeviceTape<T>& tape,
                                                                                   bool cells, bool gates) {
  const Batch& batch = tape.batch;
  ArrayCall<T> call(net, device, batch.T, batch.B, false);
  std::optional<DeviceArray> found[2];
  const auto make = [&](std::optional<DeviceArray>& to, Index width) {
    to = new_array(call.session(), kDtype<T>, {call.parts(), batch.T, batch.B, width});
    return reinterpret_cast<T*>(to->data);
  };
  T* const to_cells = cells ? make(found[0], net.shape().H) : nullptr;
  T* const to_gates = gates ? make(found[1], call.constant_width()) : nullptr;
  tape.order.read(call.session());
  if (batch.T > 0 && batch.B > 0) net.read_tape(call.session(), tape, to_cells, to_gates);
  call.end();
  return {found[0], found[1]};
}

}  // namespace fastrnn
