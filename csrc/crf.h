// SPDX-License-Identifier: MIT
// Linear-chain CRFs over batches: rows are divided among threads, and gradients to the transitions are summed over
// groups of rows that depend on the batch alone.
#pragma once
#include "models/api.h"
namespace fastrnn {

// What CrfArgs says of scores, batch and results; packed is made here, and lengths and tags are within their bounds.
// d_transition (K,K): scale times the gradient to `transition`; null: not wanted. It goes with dz.
template <class T>
void crf_values(const CrfKernels<T>& kernels, CrfArgs<T> args, T* d_transition);

template <class T>
void crf_viterbi(const CrfKernels<T>& kernels, CrfArgs<T> args);

}  // namespace fastrnn
