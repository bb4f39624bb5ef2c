// SPDX-License-Identifier: MIT
// The plain data that crosses object boundaries: nothing here has a function body, a vector or a destructor.
//
// Sizes and strides are counted in elements of T. Matrices are row-major and contiguous unless a stride stands beside
// the pointer. The caller owns every pointer; buffers of the library (packed, tape, scratch) are aligned to 64 bytes.
// Gradients of parameters are ADDED to what the caller passes unless they are `fresh`; gradients of activations are
// WRITTEN.
#pragma once
#include <stddef.h>
#include <stdint.h>
namespace fastrnn {

using Index = ptrdiff_t;
static_assert(sizeof(Index) == 8, "sizes of buffers are computed in 64 bits");

constexpr int kMaxState = 2;  // most states of any cell in cells.def

// T steps, B batch, I input, H hidden; R rows in all: T B, or the sum of the lengths; P the width of h and y, which is H
// unless the cell projects it
struct Dims {
  Index T, B, I, H, R, P;
};

// How the batch is walked. Internally row b is row order[b] of the user, rows are sorted by falling length, and only
// rows that are not finished take part in a step: row s, b of the recurrence is number first[s] + b of R, and padding
// costs nothing. A null array stands for the batch where it would say nothing: every row has T steps, in the order
// of the user.
//
// A call may run a segment of the recurrence: its step s is step begin + s of `total`. Segments follow each other, up in
// forward and down in backward, with the same arrays of the user; the last one of them in time treats the padding.
struct Steps {
  const Index* first;  // (total+1) null: s B
  const Index* order;  // (B)   null: b
  const Index* lengths;  // (B)   of internal rows, falling. Null: total
  const unsigned char* reset;  // (total,B) of the user, contiguous: no state passes between t-1 and t. Null: none
  bool reversed;  // step s of a row is t = length-1-s instead of t = s
  Index begin, total;
};

// A matrix (T,B,n) of the user whose rows are contiguous and lie anywhere: row t, b begins at p + t step + b row
template <class T>
struct Rows {
  T* p;
  Index step, row;
};

// The threads that share one call, each with its own rank. barrier() waits for all of them.
//
// step_barrier() is the one at the end of a step of a time loop. Where it returns true, for every rank at the same
// step, some threads lack a processor of their own: rank 0 does the steps that are left alone, and the others leave
// the loop.
struct Team {
  int rank, size;
  bool split_units;  // true: each thread owns units and meets the others every step; false: it owns batch rows
  void (*barrier)(void* context);
  bool (*step_barrier)(void* context);
  void* context;
};

// One matrix or vector per member; of gradients as well (Weights<T>), then added to. Null where the layer has none.
template <class T>
struct Weights {
  T *W_ih, *W_hh;  // (G*H,I) (G*H,P); no W_hh for cells that are not recurrent
  T *b_ih, *b_hh;  // (G*H) each
  T* unit;  // (kUnit*H) parameters of single units, null for cells without
  T* W_hr;  // (P,H) null for cells that do not project
};

// Noise in the recurrence (staged/masks.h), of kernels that are made for it: Kernels<T>::masked
struct StateMasks {
  double dropout;  // of numbers of h as W_hh multiplies them, one mask for all steps
  double zoneout[kMaxState];  // of h and c: the probability that a number keeps its previous value
  bool training;  // else nothing is dropped, and states become what is expected of zoneout
  uint64_t seed;
  Index part;  // of a network: each has masks of its own
};

template <class T>
struct ForwardArgs {
  Dims dims;
  Steps steps;
  const T* packed;  // weights as pack left them, packed_size
  Rows<const T> x;  // (T,B,I)
  const T* s0[kMaxState];  // h0 (B,P), c0 (B,H). Null: zeros
  Rows<T> y;  // (T,B,P) out, 0 past the end of a row
  T* sT[kMaxState];  // like s0, out: the states at the end of each row
  T* tape;  // tape_size, out: what backward needs. Null: inference
  T* scratch;  // forward_scratch_size
  const StateMasks* masks;  // null: none
  // (B,G*H) in the order of the rows of W_ih, added to W_ih x at the first `constant_steps` steps: what is the same for all
  // steps of a sequence is multiplied once. Null: none
  const T* constant;
  Index constant_steps;
  // (T,B) of the user: what the gates start from in place of the bias, and what is added to that, null: nothing. Rows of
  // begin_rows: the first `begun_columns` of x are multiplied, and not read. Null: gates begin here. Not beside `constant`
  const T *const *begun, *const *also;
  Index begun_columns;
};

// Where gates begin that begin alike again and again, after a token, or with what is the same for all steps:
//   W_ih x + b, over the first `columns` of x;   rows of constant input, laid out, where there are such
template <class T>
struct BegunArgs {
  Dims dims;  // I and H of the layer
  const T* packed;
  Index n, columns;
  const T* const* x;  // (n) rows, of which no other column is read
  const T* constant;  // (n,G*H); null: products
  T* out;  // (n,begun_size)
};

// Of one row and step, as squares of L2 norms: dh and dc as they arrive, dc with what the (clamped) dh gives to it, where
// they are traced; both together once clamped, where rows are scaled; and how many of their numbers were clamped
struct StepNorms {
  double dh, dc, clamped, count;
};

// What happens to dh and dc of each step before they flow on, and what is measured of them
template <class T>
struct StepControl {
  T value;  // each number is clamped to [-value, value]; infinity: none
  double norm;  // a row [dh ; dc] longer than it is scaled to it; infinity: none
  bool trace;  // whether norms.dh and norms.dc are wanted
  StepNorms* norms;  // (total,B) of the user; written where a row takes part in a step
};

// Over the gradients of the parameters as they were stored: sums of squares before and after they were clamped, and
// how many were
struct GradientSums {
  double before, after, clamped;
};

template <class T>
struct BackwardArgs {
  Dims dims;
  Steps steps;
  Weights<const T> weights;  // the biases are not read
  Rows<const T> x;  // as forward had it
  T* tape;  // of forward, of this segment; destroyed: dG replaces what was saved
  Rows<const T> dy;  // (T,B,P)
  const T* dsT[kMaxState];  // like s0: dhT, dcT. Null: zeros. Read by the last segment in time, the first to run
  Rows<T> dx;  // (T,B,I) written, 0 past the end of a row; p null: not wanted
  bool add_dx;  // dx is added to instead (second direction of a layer)
  T* ds0[kMaxState];  // like s0, written by the segment that ends at step 0
  Weights<T> gradients;
  bool fresh;  // gradients are written, not added to: nothing was set there. The same in all segments
  T value;  // gradients of parameters are clamped to [-value, value]; infinity: none
  const StepControl<T>* control;  // null: neither clipped nor measured
  GradientSums* sums;  // written, by the segment that ends at step 0
  T* scratch;  // backward_scratch_size; stays as it is from segment to segment
  const StateMasks* masks;  // of forward
  const T* constant;  // of forward, read where it runs again
  T* d_constant;  // (B,G*H) written; null: forward had none
  Index constant_steps;
};

// One cell at one precision for one instruction set. pack, forward and backward are called by every member of the
// team, with the same bits for any team.
template <class T>
struct Kernel {
  const char* id;  // lstm_f32__avx512
  const char* cell;  // lstm
  int gates, states, unit_parameters;
  bool recurrent;  // whether there is a W_hh
  bool projects;  // W_hr is needed, and P may differ from H
  bool splits_units;  // whether a team may divide the units of a step among its members, and gains by it
  int row_multiple;  // gradients keep their bits where segments end after a multiple of so many rows from the end
  // Sizes of buffers grow with I, so that a network asks once for the scratch of its widest layer.
  Index (*packed_size)(Dims);
  Index (*tape_size)(Dims);
  Index (*forward_scratch_size)(Dims, int threads, bool training);
  Index (*backward_scratch_size)(Dims, int threads);
  void (*pack)(Dims, const Weights<const T>&, T* packed, const Team&);
  void (*forward)(const ForwardArgs<T>&, const Team&);
  void (*backward)(const BackwardArgs<T>&, const Team&);
  // From a whole tape that backward has not destroyed: state[kMemory] of each step (T,B,H), and activations of the
  // gates (T,B,G*H), 0 past the end of a row. A null array is not wanted; a null function: the tape does not tell.
  void (*read_tape)(Dims, Steps, const T* tape, T* cells, T* gates);
  // Null: ForwardArgs::begun is not for this kernel
  Index (*begun_size)(Dims);  // of a row
  void (*begin_rows)(const BegunArgs<T>&);
};

// All cells of cells.def, in its order, at one precision; bf16 without those that need more than one phase a step
template <class T>
struct Kernels {
  int count;
  const Kernel<T>* cells;
  const Kernel<T>* masked;  // the same cells, for calls with StateMasks; null of bf16
};

// What a model needs around its recurrent layers, models/api.h: one that changes compiles no cell again
template <class T> struct ModelKernels;

struct KernelTable {
  const char* isa;
  Kernels<float> f32;
  Kernels<double> f64;
  Kernels<float> bf16;  // products of numbers rounded to bfloat16; sums, states and all that callers see are float
  const ModelKernels<float>* models_f32;
  const ModelKernels<double>* models_f64;
};

}  // namespace fastrnn
