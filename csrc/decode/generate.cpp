// SPDX-License-Identifier: MIT
#include "generate.h"
#include <numeric>
#include <stdexcept>
#include <string>
namespace fastrnn {
namespace {
void refuse_nan(double log_probability, Index sequence, Index step) {
  if (!std::isnan(log_probability)) return;
  throw std::domain_error("outputs of sequence " + std::to_string(sequence) + " at step " + std::to_string(step) +
                          " have no softmax: one is NaN or infinite");
}
}  // namespace

template <class T>
std::vector<DecodedTokens> decode_tokens(const DecoderModel<T>& model, Index sequences, const T* const* states,
                                         const Index* start, const Limits& limits, const Sampling& how) {
  std::vector<DecodedTokens> all(size_t(sequences), DecodedTokens{{}, 0, false});
  Decoder<T> decoder(model, sequences, sequences, states);
  const Index n = model.outputs();
  const Buffer terms = buffer_of<T>(sequences * n), order = buffer_of<Index>(how.filters(n) ? sequences * n : 1);
  std::vector<Index> tokens(start, start + sequences), kept;
  std::vector<Choice> choices(static_cast<size_t>(sequences));
  for (Index step = 0; step < limits.max_length && decoder.rows(); ++step) {
    limits.poll();
    decoder.step(model.embedding ? tokens.data() : nullptr, nullptr, [&](Index row) {
      choices[size_t(row)] =
          choose(model.kernels, how, decoder.z(row), n, decoder.sequence(row), step, terms.template as<T>() + row * n,
                 order.template as<Index>() + (how.filters(n) ? row * n : 0));
    });
    kept.clear(), tokens.clear();
    for (Index row = 0; row < decoder.rows(); ++row) {
      const Choice choice = choices[size_t(row)];
      DecodedTokens& decoded = all[size_t(decoder.sequence(row))];
      refuse_nan(choice.log_probability, decoder.sequence(row), step);
      decoded.log_probability += choice.log_probability;
      decoded.finished = choice.token == limits.end;
      if (decoded.finished) continue;
      decoded.tokens.push_back(choice.token);
      kept.push_back(row), tokens.push_back(choice.token);
    }
    decoder.keep(kept);
  }
  return all;
}

template <class T>
std::vector<std::vector<DecodedTokens>> decode_beam(const DecoderModel<T>& model, Index sequences,
                                                    const T* const* states, const Index* start, const Limits& limits,
                                                    const Search& search) {
  Beam beam(search, sequences);
  const Index n = model.outputs(), most = sequences * search.width;
  Decoder<T> decoder(model, sequences, most, states);
  const Buffer terms = buffer_of<T>(most * n);
  std::vector<Index> tokens(start, start + sequences);
  std::vector<double> log_sums(static_cast<size_t>(most));
  for (Index step = 0; step < limits.max_length && decoder.rows(); ++step) {
    limits.poll();
    decoder.step(model.embedding ? tokens.data() : nullptr, nullptr, [&](Index row) {
      log_sums[size_t(row)] =
          log_of_sum(model.kernels.softmax_terms(decoder.z(row), n, T(1), terms.template as<T>() + row * n));
    });
    for (Index row = 0; row < decoder.rows(); ++row) refuse_nan(log_sums[size_t(row)], decoder.sequence(row), step);
    beam.step(decoder.z(0), log_sums.data(), n);
    tokens = beam.tokens();
    decoder.keep(beam.parents());
  }
  std::vector<std::vector<DecodedTokens>> all(static_cast<size_t>(sequences));
  for (Index sequence = 0; sequence < sequences; ++sequence)
    for (const Hypothesis& h : beam.best(sequence))
      all[size_t(sequence)].push_back({beam.tokens_of(h), h.log_probability, h.finished});
  return all;
}

template <class T>
void decode_numbers(const DecoderModel<T>& model, Index sequences, const T* const* states, const T* start,
                    const Limits& limits, const Sampling& how, bool sigmoid, T* y, double* log_probabilities) {
  Decoder<T> decoder(model, sequences, sequences, states);
  const Index n = model.outputs();
  const Buffer last = buffer_of<T>(sequences * n);
  if (start) std::copy_n(start, sequences * n, last.template as<T>());
  std::vector<double> of_step(static_cast<size_t>(sequences));
  std::fill_n(log_probabilities, sequences, 0.0);
  for (Index step = 0; step < limits.max_length && sequences; ++step) {
    limits.poll();
    decoder.step(nullptr, start ? last.template as<T>() : nullptr, [&](Index row) {
      T* const numbers = last.template as<T>() + row * n;
      of_step[size_t(row)] = choose_numbers(how, sigmoid, decoder.z(row), n, row, step, numbers);
      std::copy_n(numbers, n, y + (row * limits.max_length + step) * n);
    });
    for (Index row = 0; row < sequences; ++row) {
      refuse_nan(of_step[size_t(row)], row, step);
      log_probabilities[row] += of_step[size_t(row)];
    }
  }
}

#define FR_INSTANTIATE(T)                                                                                         \
  template std::vector<DecodedTokens> decode_tokens(const DecoderModel<T>&, Index, const T* const*, const Index*, \
                                                    const Limits&, const Sampling&);                             \
  template std::vector<std::vector<DecodedTokens>> decode_beam(const DecoderModel<T>&, Index, const T* const*,    \
                                                               const Index*, const Limits&, const Search&);      \
  template void decode_numbers(const DecoderModel<T>&, Index, const T* const*, const T*, const Limits&,          \
                               const Sampling&, bool, T*, double*);
FR_INSTANTIATE(float)
FR_INSTANTIATE(double)
}  // namespace fastrnn
