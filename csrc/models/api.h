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

// Rows of queries, each looking at one row of a memory:
//   score_s = query . key_s, or v . tanh(query + key_s)
//   weights = softmax of the scores of s < length        context = sum_s weights_s memory_s
template <class T>
struct AttentionArgs {
  Index rows, S, A, M;  // queries; steps of a memory; widths of queries and keys, and of memory
  const Index* memory_row;  // (rows) null: row r looks at row r
  const Index* lengths;  // of rows of memory, 0 to S. Null: S
  const T* queries;  // (rows,A), rows query_ld apart
  Index query_ld;
  const T *keys, *memory;  // of rows of memory (S,A) (S,M)
  const T* v;  // (A) of additive scores; null: scores are dot products
  T* weights;  // (rows,S) out, 0 from the length on
  T* context;  // (rows,M) out, rows context_ld apart; 0 where the length is 0
  Index context_ld;
};

template <class T>
struct AttentionBackwardArgs {
  AttentionArgs<T> forward;  // the weights are read, the context is not
  const T* d_context;  // (rows,M), rows d_context_ld apart
  Index d_context_ld;
  T* d_queries;  // (rows,A) written, rows d_query_ld apart
  Index d_query_ld;
  T *d_keys, *d_memory;  // added to; may be one array where keys and memory are
  T* d_v;  // (rows,A) written: what each row gives to the gradient of v. Null where v is
  T* d_scores;  // (rows,S) written
};

template <class T>
struct LinearWeights {
  const T* W;  // (H,K), or (K,H) where transposed; its rows are W_ld apart
  const T* bias;  // (H) null: zeros
  Index H, K, W_ld;
  bool transposed;
};

// z = f(x W^T + b) for N rows. Not for threads: whoever has some gives each of them rows of its own. z may not be x.
template <class T>
struct LinearArgs {
  const T* packed;  // as pack_linear left it
  Index N, H, K;
  const T* x;  // (N,K), rows x_ld apart
  Index x_ld;
  T* z;  // (N,H), rows z_ld apart
  Index z_ld;
  bool add;  // to what z holds, instead of to the bias
  bool tanh;  // f; else the identity
};

constexpr Index kFewRows = 8;  // for which laying W (H,K) out takes longer than the product

template <class T>
struct SoftmaxSum {
  T most;  // max z
  double sum;  // of the terms; NaN where a z is NaN or +infinity, or all are -infinity
};

// A linear-chain CRF over K tags: a path y of n steps has the score
//   start[y_0] + sum_t z[t][y_t] + sum_t transition[y_(t-1)][y_t] + end[y_(n-1)]
template <class T>
struct CrfArgs {
  Index steps, B, K;
  const T *start, *transition, *end;  // (K) (K,K) [from][to] (K)
  const T* packed;  // as crf_pack left them, crf_packed_size
  Rows<const T> z;  // (T,B,K), not read past the end of a row
  const Index* lengths;  // (B) from 0 to T
  const Index* tags;  // (T,B) not read past the end of a row. Null: none
  double* value;  // (B) out: log Z less the score of the tags, or log Z without tags; of viterbi: the score of the path
  Rows<T> dz;  // (T,B,K) out: scale times the gradient of value, 0 past the end of a row. p null: not wanted
  T scale;
  Index* path;  // (T,B) out of viterbi: the best tags, -1 past the end of a row
};

template <class T>
struct CrfKernels {
  Index (*packed_size)(Index K);
  Index (*scratch_size)(Index steps, Index K);  // of one row of so many steps
  Index (*partial_size)(Index K);
  void (*pack)(const CrfArgs<T>&, T* packed);
  // Row b, independent of all others; its expected pairs of tags are added to `partial`, null: not wanted, which goes with dz
  void (*row)(const CrfArgs<T>&, Index b, T* scratch, T* partial);
  // scale times the gradient to `transition` of all values, from partial sums of groups of rows one after the other;
  // counts (K,K): how often a pair of tags follows each other
  void (*transition_gradient)(const CrfArgs<T>&, const T* partials, Index groups, const Index* counts, T* out);
  void (*viterbi)(const CrfArgs<T>&, Index b, T* scratch);
};

template <class T>
struct ModelKernels {
  void (*adam)(const AdamArgs<T>&);
  void (*sgd)(const SgdArgs<T>&);
  void (*rmsprop)(const RmspropArgs<T>&);
  double (*square_sum)(const T* a, Index n);
  void (*gather)(const T* table, Index width, const Index* ids, Index n, T* out);  // out[k] = table[ids[k]]
  void (*scatter_add)(const T* rows, Index width, const Index* ids, Index n, T* table);  // table[ids[k]] += rows[k]
  Index (*linear_packed_size)(Index H, Index K);
  void (*pack_linear)(const LinearWeights<T>&, T* packed);
  void (*linear)(const LinearArgs<T>&);
  // The same, with the same bits, of a W (H,K) that is not packed, made for at most kFewRows rows
  void (*linear_unpacked)(const LinearWeights<T>&, const LinearArgs<T>&);
  void (*attention)(const AttentionArgs<T>&);
  void (*attention_backward)(const AttentionBackwardArgs<T>&);
  // out[k] = e^(scale (z[k] - max z)), at least the least normal number; n > 0
  SoftmaxSum<T> (*softmax_terms)(const T* z, Index n, T scale, T* out);
  CrfKernels<T> crf;
};

}  // namespace fastrnn
