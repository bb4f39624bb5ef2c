// SPDX-License-Identifier: MIT
// The target "reference" of what models need around their recurrent layers: scalars in double and naive loops.
#define FR_ISA reference
#include <cmath>
#include "../target.h"
#include "../cells/cell.h"
#include "reference_attention.h"
#include "reference_crf.h"
FR_NAMESPACE_BEGIN
namespace {
template <class T>
struct ReferencePointwise {
  static void adam(const AdamArgs<T>& a) {
    for (Index k = 0; k < a.n; ++k) {
      double p = double(a.parameter[k]), g = double(a.scale) * double(a.gradient[k]);
      if (a.decoupled) p *= 1 - double(a.lr) * double(a.weight_decay);
      else g += double(a.weight_decay) * p;
      const double m = double(a.beta1) * double(a.m[k]) + (1 - double(a.beta1)) * g;
      const double v = double(a.beta2) * double(a.v[k]) + (1 - double(a.beta2)) * g * g;
      const double denominator = sqrt(v) / double(a.correction2) + double(a.eps);
      a.m[k] = T(m), a.v[k] = T(v);
      a.parameter[k] = T(p - double(a.lr) / double(a.correction1) * m / denominator);
    }
  }

  static void sgd(const SgdArgs<T>& a) {
    for (Index k = 0; k < a.n; ++k) {
      const double p = double(a.parameter[k]);
      double g = double(a.scale) * double(a.gradient[k]) + double(a.weight_decay) * p;
      if (a.momentum_buffer) {
        const double buffer = a.first ? g : double(a.momentum) * double(a.momentum_buffer[k]) + g;
        a.momentum_buffer[k] = T(buffer);
        g = a.nesterov ? g + double(a.momentum) * buffer : buffer;
      }
      a.parameter[k] = T(p - double(a.lr) * g);
    }
  }

  static void rmsprop(const RmspropArgs<T>& a) {
    const double alpha = double(a.alpha);
    for (Index k = 0; k < a.n; ++k) {
      const double p = double(a.parameter[k]);
      const double g = double(a.scale) * double(a.gradient[k]) + double(a.weight_decay) * p;
      double square = alpha * double(a.square_average[k]) + (1 - alpha) * g * g;
      a.square_average[k] = T(square);
      if (a.gradient_average) {
        const double mean = alpha * double(a.gradient_average[k]) + (1 - alpha) * g;
        a.gradient_average[k] = T(mean);
        square = fmax(0, square - mean * mean);
      }
      double step = g / (sqrt(square) + double(a.eps));
      if (a.momentum_buffer) a.momentum_buffer[k] = T(step += double(a.momentum) * double(a.momentum_buffer[k]));
      a.parameter[k] = T(p - double(a.lr) * step);
    }
  }

  static double square_sum(const T* a, Index n) {
    double sum = 0;
    for (Index k = 0; k < n; ++k) sum += double(a[k]) * double(a[k]);
    return sum;
  }
  static void gather(const T* table, Index width, const Index* ids, Index n, T* out) {
    for (Index k = 0; k < n; ++k)
      for (Index j = 0; j < width; ++j) out[k * width + j] = table[ids[k] * width + j];
  }
  static void scatter_add(const T* rows, Index width, const Index* ids, Index n, T* table) {
    for (Index k = 0; k < n; ++k)
      for (Index j = 0; j < width; ++j) table[ids[k] * width + j] += rows[k * width + j];
  }
};

// packed: bias, then W (H,K)
template <class T>
struct ReferenceLinear {
  static Index packed_size(Index H, Index K) { return H * (K + 1); }

  static void pack(const LinearWeights<T>& w, T* packed) {
    for (Index j = 0; j < w.H; ++j) {
      packed[j] = w.bias ? w.bias[j] : T(0);
      for (Index k = 0; k < w.K; ++k)
        packed[w.H + j * w.K + k] = w.transposed ? w.W[k * w.W_ld + j] : w.W[j * w.W_ld + k];
    }
  }

  static void run(const LinearArgs<T>& a) { run_unpacked({a.packed + a.H, a.packed, a.H, a.K, a.K, false}, a); }

  static void run_unpacked(const LinearWeights<T>& w, const LinearArgs<T>& a) {
    for (Index n = 0; n < a.N; ++n)
      for (Index j = 0; j < a.H; ++j) {
        T* const z = a.z + n * a.z_ld + j;
        double sum = a.add ? double(*z) : w.bias ? double(w.bias[j]) : 0;
        for (Index k = 0; k < a.K; ++k) sum += double(a.x[n * a.x_ld + k]) * double(w.W[j * w.W_ld + k]);
        *z = T(a.tanh ? tanh(sum) : sum);
      }
  }
};

template <class T>
SoftmaxSum<T> reference_softmax_terms(const T* z, Index n, T scale, T* out) {
  T most = z[0];
  for (Index k = 1; k < n; ++k) most = z[k] > most ? z[k] : most;
  double sum = 0;
  for (Index k = 0; k < n; ++k) {
    const double term = exp(double(scale) * (double(z[k]) - double(most)));
    out[k] = T(term);
    sum += term;
  }
  return {most, sum};
}

template <class T>
constexpr ModelKernels<T> kModels = {ReferencePointwise<T>::adam,     ReferencePointwise<T>::sgd,
                                     ReferencePointwise<T>::rmsprop,  ReferencePointwise<T>::square_sum,
                                     ReferencePointwise<T>::gather,   ReferencePointwise<T>::scatter_add,
                                     ReferenceLinear<T>::packed_size, ReferenceLinear<T>::pack,
                                     ReferenceLinear<T>::run,         ReferenceLinear<T>::run_unpacked,
                                     ReferenceAttention<T>::forward,  ReferenceAttention<T>::backward,
                                     reference_softmax_terms<T>,      reference_crf<T>};
}  // namespace

const ModelKernels<float>* models_f32() { return &kModels<float>; }
const ModelKernels<double>* models_f64() { return &kModels<double>; }
FR_NAMESPACE_END
