// SPDX-License-Identifier: MIT
// The whole loops: greedy, sampled and beam decoding of tokens, and generation of numbers.
#pragma once
#include <functional>
#include "beam.h"
#include "choice.h"
#include "decoder.h"
namespace fastrnn {

struct DecodedTokens {
  std::vector<Index> tokens;  // without the end token
  double log_probability;  // of tokens and the end token
  bool finished;  // by the end token
};

struct Limits {
  Index end;  // -1: none
  Index max_length;
  std::function<void()> poll;  // called between steps; may throw
};

// start (sequences): the tokens before the first ones. std::domain_error where outputs are NaN.
template <class T>
std::vector<DecodedTokens> decode_tokens(const DecoderModel<T>& model, Index sequences, const T* const* states,
                                         const Index* start, const Limits& limits, const Sampling& how);

// The best hypotheses of each sequence
template <class T>
std::vector<std::vector<DecodedTokens>> decode_beam(const DecoderModel<T>& model, Index sequences,
                                                    const T* const* states, const Index* start, const Limits& limits,
                                                    const Search& search);

// start (sequences,K): the numbers before the first ones, null where none are fed back. y (sequences,max_length,K),
// log_probabilities (sequences).
template <class T>
void decode_numbers(const DecoderModel<T>& model, Index sequences, const T* const* states, const T* start,
                    const Limits& limits, const Sampling& how, bool sigmoid, T* y, double* log_probabilities);

}  // namespace fastrnn
