// SPDX-License-Identifier: MIT
// What a model needs around its recurrent layers, one table of functions for each precision and instruction set. The same
// rules as in ../api.h; dense arrays throughout.
#pragma once
#include "../api.h"
namespace fastrnn {

template <class T>
struct AdamArgs {  // all (n); torch.optim.Adam, AdamW where `decoupled`
  T* parameter;
  const T* gradient;  // multiplied by `scale` before anything else
  T *m, *v;  // moments
  Index n;
  T lr, beta1, beta2, eps, weight_decay, scale;
  T correction1, correction2;  // 1 - beta1^step, sqrt(1 - beta2^step)
  bool decoupled;
};

template <class T>
struct SgdArgs {  // all (n); torch.optim.SGD without dampening
  T* parameter;
  const T* gradient;  // multiplied by `scale` before anything else
  T* momentum_buffer;  // null: no momentum
  Index n;
  T lr, momentum, weight_decay, scale;
  bool first, nesterov;  // first: the buffer is written, not read
};

template <class T>
struct RmspropArgs {  // all (n); torch.optim.RMSprop
  T* parameter;
  const T* gradient;  // multiplied by `scale` before anything else
  T* square_average;
  T* gradient_average;  // null: not centered
  T* momentum_buffer;  // null: no momentum
  Index n;
  T lr, alpha, eps, weight_decay, momentum, scale;
};

template <class T>
struct ModelKernels {
  void (*adam)(const AdamArgs<T>&);
  void (*sgd)(const SgdArgs<T>&);
  void (*rmsprop)(const RmspropArgs<T>&);
  double (*square_sum)(const T* a, Index n);
  void (*gather)(const T* table, Index width, const Index* ids, Index n, T* out);  // out[k] = table[ids[k]]
  void (*scatter_add)(const T* rows, Index width, const Index* ids, Index n, T* table);  // table[ids[k]] += rows[k]
};

}  // namespace fastrnn
