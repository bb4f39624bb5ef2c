// SPDX-License-Identifier: MIT
// One step of a decoder for the rows that still run:
//
//   x_t = [feedback ; fed]      the embedding of the last token, or the last numbers; what attention feeds
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
#include "../models/api.h"
#include "../network.h"
namespace fastrnn {

// z = x W^T + b, packed; none where H is 0
template <class T>
struct LinearMap {
  LinearMap() = default;
  LinearMap(const ModelKernels<T>& kernels, const LinearWeights<T>& weights);
  Index H = 0, K = 0;
  Buffer packed;
};

template <class T>
struct DecoderAttention {
  bool early = false, feeds = false;
  Index S = 0, A = 0, M = 0;
  const Index* lengths = nullptr;  // of sequences. Null: S
  const T *keys = nullptr, *memory = nullptr;  // of sequences, (S,A) and (S,M)
  const T* v = nullptr;  // (A) of additive scores
  LinearMap<T> query;  // none: the query is h
  LinearMap<T> combine;  // W_c, b_c
};

enum class Feedback { kNone, kToken, kNumbers };

template <class T>
struct DecoderModel {
  const Network<T>& net;
  std::shared_ptr<const PackedWeights> packed;
  const ModelKernels<T>& kernels;
  Feedback feedback;
  const T* embedding;  // (vocabulary,width) of tokens
  Index feedback_width;
  LinearMap<T> readout;
  std::unique_ptr<DecoderAttention<T>> attention;  // null: none
  const T* constant;  // (sequences,G*H), see ForwardArgs (api.h). Null: none
  bool constant_always;  // at all steps, else at the first one
  Index outputs() const { return readout.H; }
  Index fed_width() const { return !attention ? 0 : attention->early ? attention->M : attention->feeds ? combined() : 0; }
  Index combined() const { return attention->combine.H; }
};

template <class T>
class Decoder {
 public:
  // One row for each sequence; room for `most` rows. states (parts,sequences,n), one array a state.
  Decoder(const DecoderModel<T>& model, Index sequences, Index most, const T* const* states);

  Index rows() const { return Index(sequences_.size()); }
  Index sequence(Index row) const { return sequences_[size_t(row)]; }

  // tokens (rows) or numbers (rows,K), the last outputs, or null where none are fed back. finish(row) is called when z of
  // the row is there, by several threads where there is much to do.
  template <class F>
  void step(const Index* tokens, const T* numbers, const F& finish) {
    recur(tokens, numbers);
    run_rows([](const void* f, Index row) { (*static_cast<const F*>(f))(row); }, &finish);
    ++steps_;
  }
  const T* z(Index row) const { return z_.template as<T>() + row * model_.outputs(); }

  // Row r of the next step is row parents[r] of the last one
  void keep(const std::vector<Index>& parents);

 private:
  using Finish = void (*)(const void* f, Index row);
  Index padded() const { return rows() == 1 ? 2 : rows(); }
  Index top_at() const { return Index(model_.net.parts().size() - 1) * padded() * model_.net.shape().P; }
  T* joined(Index row) const { return joined_.template as<T>() + row * joined_ld_; }  // [context ; h]
  void recur(const Index* tokens, const T* numbers);
  void attend(const T* h, Index h_ld, Index begin, Index end);
  void run_rows(Finish finish, const void* f);
  void read_out(Index begin, Index end);
  void linear(const LinearMap<T>& map, const T* x, Index x_ld, T* z, Index z_ld, Index rows, bool tanh) const;

  const DecoderModel<T>& model_;
  std::vector<Index> sequences_, gathered_;
  Buffer states_[2][kMaxState];  // before and after a step, by turns
  int at_ = 0;  // those before the next step
  Index joined_ld_, steps_ = 0;
  Buffer x_, fed_, next_fed_, joined_, query_, attention_, z_, constant_;
};

extern template class Decoder<float>;
extern template class Decoder<double>;

}  // namespace fastrnn
