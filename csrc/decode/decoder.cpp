// SPDX-License-Identifier: MIT
#include "decoder.h"
#include <algorithm>
#include "../cpu.h"
#include "../threads.h"
namespace fastrnn {
constexpr double kManyOperations = 2.5e7;  // around the recurrence, that are worth waking threads

template <class T>
LinearMap<T>::LinearMap(const ModelKernels<T>& kernels, const LinearWeights<T>& weights)
    : H(weights.H), K(weights.K), packed(buffer_of<T>(kernels.linear_packed_size(weights.H, weights.K))) {
  kernels.pack_linear(weights, packed.as<T>());
}

template <class T>
Decoder<T>::Decoder(const DecoderModel<T>& model, Index sequences, Index most, const T* const* states) : model_(model) {
  const Network<T>& net = model.net;
  const DecoderAttention<T>* const attention = model.attention.get();
  const Index room = std::max(most, Index(2)), parts = Index(net.parts().size());
  for (Index k = 0; k < sequences; ++k) sequences_.push_back(k);
  for (int q = 0; q < net.kernel().states; ++q) {
    for (Buffer& buffer : states_[q]) buffer = buffer_of<T>(parts * room * net.width(q));
  }
  joined_ld_ = (attention ? attention->M : 0) + net.outputs();
  x_ = buffer_of<T>(room * net.shape().I);
  joined_ = buffer_of<T>(room * joined_ld_);
  z_ = buffer_of<T>(room * model.outputs());
  fed_ = buffer_of<T>(room * model.fed_width());
  next_fed_ = buffer_of<T>(room * model.fed_width());
  if (attention) {
    query_ = buffer_of<T>(room * attention->query.H);
    attention_ = buffer_of<T>(room * (attention->S + model.combined()));
    std::fill_n(fed_.as<T>(), room * model.fed_width(), T(0));
  }
}
}  // namespace fastrnn
