// SPDX-License-Identifier: MIT
// A network that runs one step at a time, all of its layers together, because what it reads at a step depends on what came
// out of the one before: attention with input feeding (Luong et al. 2015), attention whose query is the last state
// (Bahdanau et al. 2015), or tokens of the network's own choice (scheduled sampling, Bengio et al. 2015).
//
//   x_t = [given_t ; fed_t]      h_t = layers(x_t)
//   late   (context_t of the query h_t)         h~_t = tanh(W_c [context_t ; h_t] + b_c)     fed_t = h~_{t-1}, or nothing
//   early  (context_t of W_q h_{t-1})           h~_t = tanh(W_c [context_t ; h_t] + b_c)     fed_t = context_t
//   none                                        h~_t = h_t
//
// Each step is a segment of the recurrence (Steps, api.h), so that weights are packed once and the gradients of the layers'
// weights are one chain of sums. The gradients of W_c, W_q and v are left to the caller, who has all rows of all steps:
// arrays of ROWS hold row b of step t at number first[t] + b, in the order of Steps.
#pragma once
#include <memory>
#include <vector>
#include "../models/linear_map.h"
#include "../network.h"
namespace fastrnn {

enum class Query { kNone, kLate, kEarly };

template <class T>
struct StepwiseAttention {
  Query query;
  bool feeds;  // of kLate: whether h~_{t-1} is part of x_t
  Index S, A, M, C;  // steps and width of the memory, width of keys and of h~
  const Index* lengths;  // (B) of the memory; null: S
  const T *keys, *memory;  // (B,S,A) (B,S,M)
  const T* v;  // (A) of additive scores; null: dot products
  const T* W_q;  // (A,P) of kEarly
  const T *W_c, *b_c;  // (C,M+P) (C)
};

// Which tokens are the network's own: the largest output of the step before, or one drawn from its softmax
template <class T>
struct StepwiseSampling {
  double probability;  // of each token but the first of a sequence; 0: all are given
  uint64_t seed;
  bool draw;
  const T *V, *b;  // (K,C) (K)
  const T* table;  // (K,width): the first numbers of x of a token
  Index K, width;
  Index* ids;  // (T,B) out: where a token was chosen, it
};

// ROWS of all steps, of the caller
template <class T>
struct StepwiseRows {
  T* joined;  // (R,M+P) [context ; h]; h alone where there is no attention
  T* attended;  // (R,C) h~; null: h is
  T* weights;  // (R,S)
  T *queries, *previous;  // (R,A) (R,P) W_q h_{t-1} and h_{t-1}, of kEarly
};

template <class T>
struct StepwiseGradientRows {
  const T* attended;  // (R,C) of h~
  T* before_tanh;  // (R,C) out
  T* queries;  // (R,A) out
  T* scores;  // (R,S) out
  T* v;  // (R,A) out: what each row gives; null: none
};

template <class T>
struct StepwiseTape {
  Tape<T> net;  // of its parts the tapes of all steps, one after the other
  std::vector<std::vector<Index>> begins;  // of each part and step
};

template <class T>
class Stepwise {
 public:
  Stepwise(const Network<T>& net, const ModelKernels<T>& kernels, const StepwiseAttention<T>& attention);

  Index fed() const;  // numbers of x that are fed
  Index given() const { return net_.shape().I - fed(); }
  Index joined() const { return (attends() ? attention_.M : 0) + net_.shape().P; }

  // x (T,B,given): tape.net.batch says T and B. sT[state] (parts,B,n) out
  void forward(const PackedWeights& packed, Rows<const T> x, const T* const* s0, const StepwiseSampling<T>& sampling,
               ConstantInput<T> constant, const StepwiseRows<T>& rows, T* const* sT, StepwiseTape<T>& tape) const;

  // Destroys the tape. request.dy is not read; request.dx (T,B,given). Added to: d_keys, d_memory
  GradientSums backward(StepwiseTape<T>& tape, const T* flat, const StepwiseRows<T>& rows,
                        const StepwiseGradientRows<T>& gradients, T* d_keys, T* d_memory,
                        const BackwardRequest<T>& request) const;

 private:
  struct ForwardRun;
  struct BackwardRun;
  bool attends() const { return attention_.query != Query::kNone; }
  bool early() const { return attention_.query == Query::kEarly; }
  Dims step_dims(const Batch& batch, const Part& part, Index step) const;
  int threads(const Batch& batch, int passes) const;
  void reserve(StepwiseTape<T>& tape) const;
  AttentionArgs<T> attention_args(const StepwiseRows<T>& rows, const Steps& steps, Index first, Index begin,
                                  Index end) const;

  const Network<T>& net_;
  const ModelKernels<T>& kernels_;
  const StepwiseAttention<T> attention_;
};

}  // namespace fastrnn
