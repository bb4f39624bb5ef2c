// SPDX-License-Identifier: MIT
// One step of a decoder for the rows that still run:
//
//   x_t = [feedback ; fed]      the vector of the last token, multiplied once (token_rows.h), or the last numbers; what
//                               attention feeds
//   h_t = layers(x_t, h_{t-1})
//   attention   context_t = sum_s a_s m_s,  a = softmax of the scores of (query, key_s) (AttentionArgs, models/api.h)
//               h~_t = tanh(W_c [context_t ; h_t] + b_c)
//     early     the query is of h_{t-1}, and context_t is fed to step t (Bahdanau); else it is of h_t (Luong), and
//               h~_{t-1} is fed where attention feeds
//   z_t = V (h~_t or h_t) + b
//
// Rows are gathered between steps: finished ones leave, those of beams are reordered. A lone row runs as a batch of two:
// kernels sum a batch of one in another order, and the bits of a row must not depend on the others.
#pragma once
#include <memory>
#include <vector>
#include "../models/linear_map.h"
#include "../network.h"
#include "../token_rows.h"
namespace fastrnn {

template <class T>
struct DecoderAttention {
  bool early = false;
  bool feeds = false;  // h~ is; not where early
  Index S = 0, A = 0, M = 0;
  const Index* lengths = nullptr;  // of sequences. Null: S
  const T *keys = nullptr, *memory = nullptr;  // of sequences, (S,A) and (S,M)
  const T* v = nullptr;  // (A) of additive scores
  LinearMap<T> query;  // none: the query is h
  LinearMap<T> combine;  // W_c, b_c
};

template <class T>
struct DecoderModel {
  const Network<T>& net;
  std::shared_ptr<const PackedWeights> packed;
  const ModelKernels<T>& kernels;
  const T* embedding;  // (vocabulary,feedback_width) of tokens that are fed back. Null: numbers are, or nothing is
  Index vocabulary, feedback_width;
  LinearMap<T> readout;
  std::unique_ptr<DecoderAttention<T>> attention;  // null: none
  const T* constant;  // (sequences,G*H), see ForwardArgs (api.h). Null: none
  bool constant_always;  // at all steps, else at the first one
  Index outputs() const { return readout.H; }
  Index fed_width() const {  // numbers of x beside the feedback
    if (!attention) return 0;
    return attention->early ? attention->M : attention->feeds ? attention->combine.H : 0;
  }
};

template <class T>
class Decoder {
 public:
  // One row for each sequence; room for `most` rows. states (parts,sequences,n), one array a state.
  Decoder(const DecoderModel<T>& model, Index sequences, Index most, const T* const* states);

  Index rows() const { return Index(sequences_.size()); }
  Index sequence(Index row) const { return sequences_[size_t(row)]; }

  // tokens (rows) or numbers (rows,K), the last outputs; both null where none are fed back. finish(row) is called when
  // z of the row is there, by several threads where there is much to do; it may not throw.
  template <class F>
  void step(const Index* tokens, const T* numbers, const F& finish) {
    recur(tokens, numbers);
    of_rows([&](Index begin, Index end) {
      read_out(begin, end);
      for (Index row = begin; row < end; ++row) finish(row);
    });
    ++steps_;
  }
  const T* z(Index row) const { return z_.template as<T>() + row * model_.outputs(); }

  // Row r of the next step is row parents[r] of the last one
  void keep(const std::vector<Index>& parents);

 private:
  using RowsWork = void (*)(const void* f, Index begin, Index end);
  template <class F>
  void of_rows(const F& work) const {
    divide([](const void* f, Index begin, Index end) { (*static_cast<const F*>(f))(begin, end); }, &work);
  }
  void divide(RowsWork work, const void* f) const;

  Index padded() const { return rows() == 1 ? 2 : rows(); }
  Index constant_width() const { return model_.net.kernel().gates * model_.net.shape().H; }
  T* joined(Index row) const { return joined_.template as<T>() + row * joined_ld_; }  // [context ; h]
  void gather(const T* const* states, Index rows, const std::vector<Index>& from);
  void begin_constant();
  ConstantInput<T> constant() const;
  Begun<T> begun(const Index* tokens);
  void recur(const Index* tokens, const T* numbers);
  void attend(const T* h, Index h_ld, Index begin, Index end);
  void read_out(Index begin, Index end);

  const DecoderModel<T>& model_;
  std::vector<Index> sequences_;  // of the rows
  Index joined_ld_, steps_ = 0;
  Buffer states_[kMaxState][2];  // before and after a step, by turns
  int at_ = 0;  // those before the next step
  std::unique_ptr<TokenRows<T>> token_rows_;  // null: x has the vectors of the tokens
  std::vector<const T*> begun_, also_;  // of the rows, where there are token rows
  Buffer begun_constant_;  // of the sequences
  Buffer x_, joined_, query_, weights_, combined_, z_, constant_;
  Buffer fed_[2];  // h~ of the last step where it is fed, and room to gather it
};

extern template class Decoder<float>;
extern template class Decoder<double>;

}  // namespace fastrnn
