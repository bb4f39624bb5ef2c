// SPDX-License-Identifier: MIT
// One recurrent network on a device: what Network (network.h) is on the CPU. Arrays of all arguments are of the device.
#pragma once
#include <memory>
#include <vector>
#include "checkpoints.h"
#include "network_layout.h"
#include "stream_order.h"
namespace fastrnn {

// The arrays of a Batch in the memory of the device
class DeviceBatch {
 public:
  DeviceBatch() = default;
  DeviceBatch(const DeviceSession& session, const Batch& batch);
  Steps steps(bool reversed) const;
  const Index* user_lengths() const { return user_lengths_.as<Index>(); }  // (B); null: all are T

 private:
  DeviceBuffer first_, order_, lengths_, user_lengths_, reset_;
  Index T_ = 0;
};

// Parameters, as they are and as the kernels want them
struct DeviceWeights {
  DeviceBuffer flat;
  std::vector<DeviceBuffer> parts;
  mutable StreamOrder order;
};

// What one forward call leaves for one backward call
template <class T>
struct DeviceTape {
  DeviceTape(Batch batch_, const Dropout& dropout_) : batch(std::move(batch_)), dropout(dropout_) {}
  Batch batch;
  Dropout dropout;
  std::shared_ptr<const DeviceWeights> weights;  // that forward had
  DeviceBatch rows;
  DeviceBuffer x;  // (T,B,I) in the strides of x_rows, masked where x is; none where the caller keeps its own
  Rows<const T> x_rows = {};
  DeviceBuffer constant;
  Index constant_steps = 0;
  std::vector<DeviceBuffer> parts;  // tape of each part; none where there are checkpoints
  std::unique_ptr<SegmentStates<T, DeviceSession>> checkpoints;
  std::vector<DeviceBuffer> between;  // (T,B,outputs) of all layers but the last, masked
  bool learned_state = false;
  StreamOrder order;
};

template <class T>
class DeviceNetwork : public NetworkLayout {
 public:
  DeviceNetwork(const DeviceKernel<T>& kernel, const NetworkShape& shape);

  const DeviceKernel<T>& kernel() const { return kernel_; }

  // flat: parameter_count() numbers of the host or the device
  DeviceWeights pack(const DeviceSession& session, const T* flat) const;

  // As Network::forward. The tape has its batch, dropout and weights, and with dropout of inputs x as its own.
  void forward(const DeviceSession& session, const Batch& batch, const DeviceBatch& rows, const DeviceWeights& weights,
               Rows<const T> x, const T* const* s0, Rows<T> y, T* const* sT, DeviceTape<T>* tape,
               ConstantInput<T> constant) const;

  // Destroys the tape. sums: 3 doubles of the device for each part and learned state, written
  void backward(const DeviceSession& session, DeviceTape<T>& tape, const BackwardRequest<T>& request,
                double* sums) const;
  Index sums_count() const { return 3 * (Index(parts_.size()) + (shape_.learn_state ? kernel_.states : 0)); }

  // As Network::plan
  std::unique_ptr<SegmentStates<T, DeviceSession>> plan(const DeviceSession& session, const Batch& batch,
                                                        double budget) const;

  // Of a whole tape before backward: cells (parts,T,B,H) and gates (parts,T,B,G*H), each an array or null
  void read_tape(const DeviceSession& session, const DeviceTape<T>& tape, T* cells, T* gates) const;

 private:
  static Rows<T> contiguous(const DeviceBuffer& buffer, const Batch& batch, Index width);
  void mask_input(const DeviceSession& session, const DeviceTape<T>& tape, int layer, Rows<T> rows) const;
  std::vector<DeviceBuffer> learned_states(const DeviceSession& session, const Batch& batch,
                                           const DeviceWeights& weights, const T* const* s0) const;
  void reserve(const DeviceSession& session, DeviceTape<T>& tape) const;
  void run_forward(const DeviceSession& session, DeviceForward<T>& call) const;
  void backward_layer(const DeviceSession& session, int layer, DeviceTape<T>& tape, const BackwardRequest<T>& request,
                      Rows<const T> d_output, Rows<T> d_input, T* scratch, double* sums) const;

  const DeviceKernel<T>& kernel_;
};

extern template class DeviceNetwork<float>;
extern template class DeviceNetwork<double>;

}  // namespace fastrnn
