// SPDX-License-Identifier: MIT
// What models need around their recurrent layers, compiled once per instruction set and precision like ../target.cpp and
// under its rules: no STL, no static initialisers. Its only external symbol is models_<type>().
#include FR_SIMD
#include "../target.h"
#include "attention.h"
#include "crf.h"
#include "linear.h"
#include "linear_unpacked.h"
#include "pointwise.h"
#include "softmax.h"
#define FR_JOIN2(a, b) a##b
#define FR_JOIN(a, b) FR_JOIN2(a, b)

FR_NAMESPACE_BEGIN
namespace {
using f32 = float;
using f64 = double;
using Scalar = FR_TYPE;
using Lanes = Vec<Scalar>;

constexpr CrfKernels<Scalar> kCrf = {Crf<Lanes>::packed_size, Crf<Lanes>::scratch_size, Crf<Lanes>::partial_size,
                                     Crf<Lanes>::pack,        Crf<Lanes>::row,          Crf<Lanes>::transition_gradient,
                                     Crf<Lanes>::viterbi};
constexpr ModelKernels<Scalar> kModels = {Pointwise<Lanes>::adam,     Pointwise<Lanes>::sgd,
                                          Pointwise<Lanes>::rmsprop,  Pointwise<Lanes>::square_sum,
                                          Pointwise<Lanes>::gather,   Pointwise<Lanes>::scatter_add,
                                          Linear<Lanes>::packed_size, Linear<Lanes>::pack,
                                          Linear<Lanes>::run,         LinearUnpacked<Lanes>::run,
                                          Attention<Lanes>::forward,  Attention<Lanes>::backward,
                                          Softmax<Lanes>::terms,      kCrf};
}  // namespace

const ModelKernels<Scalar>* FR_JOIN(models_, FR_TYPE)() { return &kModels; }
FR_NAMESPACE_END
