// SPDX-License-Identifier: MIT
#include "decoder.h"
#include <algorithm>
#include "../cpu.h"
#include "../threads.h"
namespace fastrnn {
constexpr double kManyOperations = 2.5e7;  // around the recurrence, that are worth waking threads

template <class T>
Decoder<T>::Decoder(const DecoderModel<T>& model, Index sequences, Index most, const T* const* states)
    : model_(model), sequences_(size_t(sequences)) {
  const Network<T>& net = model.net;
  const DecoderAttention<T>* const attention = model.attention.get();
  const Index room = std::max(most, Index(2)), parts = Index(net.parts().size());
  for (int q = 0; q < net.kernel().states; ++q)
    for (Buffer& buffer : states_[q]) buffer = buffer_of<T>(parts * room * net.width(q));
  joined_ld_ = (attention ? attention->M : 0) + net.outputs();
  x_ = buffer_of<T>(room * net.shape().I);
  joined_ = buffer_of<T>(room * joined_ld_);
  z_ = buffer_of<T>(room * model.outputs());
  if (model.embedding && net.kernel().begin_rows)
    token_rows_ =
        std::make_unique<TokenRows<T>>(net, *model.packed, 0, model.embedding, model.vocabulary, model.feedback_width);
  if (model.constant && token_rows_) begin_constant();
  else if (model.constant) constant_ = buffer_of<T>(room * constant_width());
  if (attention) {
    query_ = buffer_of<T>(room * attention->query.H);
    weights_ = buffer_of<T>(room * attention->S);
    combined_ = buffer_of<T>(room * attention->combine.H);
    if (attention->feeds) {
      for (Buffer& buffer : fed_) buffer = buffer_of<T>(room * attention->combine.H);
      std::fill_n(fed_[0].template as<T>(), room * attention->combine.H, T(0));
    }
  }
  for (Index k = 0; k < sequences; ++k) sequences_[size_t(k)] = k;
  gather(states, sequences, sequences_);
}

// States of padded() rows from those of `rows` rows, row r from row from[r]
template <class T>
void Decoder<T>::gather(const T* const* states, Index rows, const std::vector<Index>& from) {
  const Network<T>& net = model_.net;
  for (int q = 0; q < net.kernel().states; ++q) {
    const Index width = net.width(q);
    T* to = states_[q][at_].template as<T>();
    for (size_t part = 0; part < net.parts().size(); ++part)
      for (Index r = 0; r < padded(); ++r, to += width)
        std::copy_n(states[q] + (Index(part) * rows + from[size_t(r < this->rows() ? r : 0)]) * width, width, to);
  }
}

template <class T>
void Decoder<T>::keep(const std::vector<Index>& parents) {
  bool same = Index(parents.size()) == rows();
  for (size_t r = 0; same && r < parents.size(); ++r) same = parents[r] == Index(r);
  if (same) return;
  const Index before = padded();
  std::vector<Index> kept;
  for (Index parent : parents) kept.push_back(sequence(parent));
  sequences_.swap(kept);
  const T* states[kMaxState] = {};
  for (int q = 0; q < model_.net.kernel().states; ++q) states[q] = states_[q][at_].template as<T>();
  at_ ^= 1;  // the others are free between steps
  gather(states, before, parents);
  if (!model_.attention || !model_.attention->feeds) return;
  const Index width = model_.attention->combine.H;
  for (size_t r = 0; r < parents.size(); ++r)
    std::copy_n(fed_[0].template as<T>() + parents[r] * width, width, fed_[1].template as<T>() + Index(r) * width);
  std::swap(fed_[0], fed_[1]);
}

// Lays the constant input of all sequences out, once for all steps
template <class T>
void Decoder<T>::begin_constant() {
  const Kernel<T>& kernel = model_.net.kernel();
  const Dims dims = model_.net.first_layer();
  begun_constant_ = buffer_of<T>(rows() * kernel.begun_size(dims));
  const FlushDenormals flush;
  kernel.begin_rows({dims, model_.packed->parts[0].template as<T>(), rows(), 0, nullptr, model_.constant,
                     begun_constant_.template as<T>()});
}

// The constant input of this step, of padded() rows, where they do not begin with it
template <class T>
ConstantInput<T> Decoder<T>::constant() const {
  if (!constant_.template as<T>() || (steps_ > 0 && !model_.constant_always)) return {};
  T* const to = constant_.template as<T>();
  for (Index r = 0; r < padded(); ++r)
    std::copy_n(model_.constant + sequence(r < rows() ? r : 0) * constant_width(), constant_width(),
                to + r * constant_width());
  return {to, 1};
}

// What the gates of padded() rows start from
template <class T>
Begun<T> Decoder<T>::begun(const Index* tokens) {
  if (!token_rows_) return {};
  begun_.resize(size_t(padded()));
  token_rows_->find(tokens, rows(), begun_.data());
  if (padded() > rows()) begun_[1] = begun_[0];
  Begun<T> found{{begun_.data()}, nullptr, model_.feedback_width};
  if (!model_.constant || (steps_ > 0 && !model_.constant_always)) return found;
  const Index size = model_.net.kernel().begun_size(model_.net.first_layer());
  also_.resize(size_t(padded()));
  for (Index r = 0; r < padded(); ++r)
    also_[size_t(r)] = begun_constant_.template as<T>() + sequence(r < rows() ? r : 0) * size;
  found.also = also_.data();
  return found;
}

template <class T>
void Decoder<T>::recur(const Index* tokens, const T* numbers) {
  const Network<T>& net = model_.net;
  const DecoderAttention<T>* const attention = model_.attention.get();
  const Index inputs = net.shape().I, width = model_.feedback_width;
  T *before[kMaxState], *after[kMaxState];
  for (int q = 0; q < net.kernel().states; ++q)
    before[q] = states_[q][at_].template as<T>(), after[q] = states_[q][at_ ^ 1].template as<T>();
  if (attention && attention->early) {
    const T* const top = before[0] + Index(net.parts().size() - 1) * padded() * net.width(0);
    of_rows([&](Index begin, Index end) { attend(top, net.width(0), begin, end); });
  }
  for (Index r = 0; r < padded(); ++r) {
    const Index row = r < rows() ? r : 0;
    T* const x = x_.template as<T>() + r * inputs;
    if (tokens && !token_rows_) std::copy_n(model_.embedding + tokens[row] * width, width, x);
    else if (numbers) std::copy_n(numbers + row * width, width, x);
    if (!attention) continue;
    if (attention->early) std::copy_n(joined(row), attention->M, x + width);
    else if (attention->feeds)
      std::copy_n(fed_[0].template as<T>() + row * attention->combine.H, attention->combine.H, x + width);
  }
  T* const y = joined_.template as<T>() + (joined_ld_ - net.outputs());
  net.forward(Batch(1, padded(), nullptr, nullptr), *model_.packed, {x_.template as<T>(), padded() * inputs, inputs},
              before, {y, padded() * joined_ld_, joined_ld_}, after, nullptr, constant(), begun(tokens));
  at_ ^= 1;
}

// Contexts of the rows [begin, end), whose h are h_ld apart
template <class T>
void Decoder<T>::attend(const T* h, Index h_ld, Index begin, Index end) {
  const DecoderAttention<T>& a = *model_.attention;
  const T* queries = h + begin * h_ld;
  if (a.query.H) {
    T* const to = query_.template as<T>() + begin * a.query.H;
    a.query.run(queries, h_ld, to, a.query.H, end - begin);
    queries = to, h_ld = a.query.H;
  }
  model_.kernels.attention({end - begin, a.S, a.A, a.M, sequences_.data() + begin, a.lengths, queries, h_ld, a.keys,
                            a.memory, a.v, weights_.template as<T>() + begin * a.S, joined(begin), joined_ld_});
}

// From h to z
template <class T>
void Decoder<T>::read_out(Index begin, Index end) {
  const DecoderAttention<T>* const attention = model_.attention.get();
  const T* read = joined(begin);
  Index read_ld = joined_ld_;
  if (attention) {
    if (!attention->early) attend(joined_.template as<T>() + attention->M, joined_ld_, begin, end);
    T* const all = (attention->feeds ? fed_[0] : combined_).template as<T>();
    const Index width = attention->combine.H;
    attention->combine.run(read, read_ld, all + begin * width, width, end - begin, true);
    read = all + begin * width, read_ld = width;
  }
  model_.readout.run(read, read_ld, z_.template as<T>() + begin * model_.outputs(), model_.outputs(), end - begin);
}

// Whether the steps around the recurrence are divided among threads: their results do not depend on it
template <class T>
void Decoder<T>::divide(RowsWork work, const void* f) const {
  double operations = 2.0 * double(model_.readout.K) * double(model_.outputs());
  if (const DecoderAttention<T>* const a = model_.attention.get())
    operations += 2.0 * double(a->combine.K) * double(a->combine.H) + 2.0 * double(a->query.K) * double(a->query.H) +
                  2.0 * double(a->S) * double(a->A + a->M);
  if (operations * double(rows()) < kManyOperations || rows() < 2) {
    const FlushDenormals flush;
    return work(f, 0, rows());
  }
  ThreadLease lease(thread_count());
  lease.run(lease.size(), false, 0,
            [&](const Team& team) { work(f, rows() * team.rank / team.size, rows() * (team.rank + 1) / team.size); });
}

template class Decoder<float>;
template class Decoder<double>;
}  // namespace fastrnn
