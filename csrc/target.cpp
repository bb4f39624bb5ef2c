// SPDX-License-Identifier: MIT
// THE file compiled once per instruction set and precision, with -DFR_ISA=<name> -DFR_SIMD='"simd/<name>.h"'
// -DFR_TYPE=f32, f64 or bf16 and the flags of that set. Its only external symbol with a strong definition is
// kernels_<type>() in the inline namespace FR_ISA.
//
// No STL and no static initialisers: the linker keeps ONE copy of a weak symbol such as vector::resize, perhaps the
// one with AVX-512 instructions, and an old processor dies. A test fails on any weak symbol that two targets share.
#include FR_SIMD
#include "backward.h"
#include "cells/cells.h"
#include "read_tape.h"
#include "staged/backward.h"
#include "staged/read_tape.h"
#include "target.h"
#define FR_STRING2(s) #s
#define FR_STRING(s) FR_STRING2(s)
#define FR_JOIN2(a, b) a##b
#define FR_JOIN(a, b) FR_JOIN2(a, b)

FR_NAMESPACE_BEGIN
namespace {
// What memory outside of products holds, and what products multiply
template <class T, class Operand> struct Types {
  using Scalar = T;
  using Element = Operand;
};
using f32 = Types<float, float>;
using f64 = Types<double, double>;
using bf16 = Types<float, Pair>;
using Scalar = FR_TYPE::Scalar;
using Element = FR_TYPE::Element;

template <class Cell, class Vec, class E, class T = typename Vec::Scalar>
struct Entry {
  static_assert(Cell::kState <= kMaxState, "raise kMaxState in api.h");
  static Index packed_size(Dims d) { return Layout<Cell, Vec, E>{d}.packed_size(); }
  static Index tape_size(Dims d) { return Layout<Cell, Vec, E>{d}.tape_size(); }
  static void forward(const ForwardArgs<T>& args, const Team& team) {
    Forward<Cell, Vec, E> pass{args, team};
    pass.run();
  }
  static void backward(const BackwardArgs<T>& args, const Team& team) {
    Backward<Cell, Vec, E> pass{args, team};
    pass.run();
  }

  static constexpr Kernel<T> kernel(const char* id, const char* name) {
    return {id,
            name,
            Cell::kGates,
            Cell::kState,
            Cell::kUnit,
            Cell::kRecurrent,
            false,
            Cell::kRecurrent,
            ElementOf<E>::kNumbers,
            packed_size,
            tape_size,
            Forward<Cell, Vec, E>::scratch_size,
            Backward<Cell, Vec, E>::scratch_size,
            pack_forward<Cell, Vec, E>,
            forward,
            backward,
            read_tape<Cell, Vec, E>,
            Layout<Cell, Vec, E>::kHalf ? nullptr : Forward<Cell, Vec, E>::begun_size,
            Layout<Cell, Vec, E>::kHalf ? nullptr : Forward<Cell, Vec, E>::begin_rows};
  }
};

// A cell that needs more than one phase a step, or any cell with StateMasks
template <class Cell, class Vec, bool kMasked, class T = typename Vec::Scalar>
struct StagedEntry {
  static_assert(Cell::kState <= kMaxState, "raise kMaxState in api.h");
  static_assert(kMasked || kStaged<Cell>, "FR_CELL is for cells of one phase");
  using Map = staged::Layout<Cell, Vec, kMasked>;
  using Forward = staged::Forward<Cell, Vec, kMasked>;
  using Backward = staged::Backward<Cell, Vec, kMasked>;
  static Index packed_size(Dims d) { return Map{d}.packed_size(); }
  static Index tape_size(Dims d) { return Map{d}.tape_size(); }
  static void forward(const ForwardArgs<T>& args, const Team& team) { Forward{args, team}.run(); }
  static void backward(const BackwardArgs<T>& args, const Team& team) { Backward{args, team}.run(); }

  static constexpr Kernel<T> kernel(const char* id, const char* name) {
    return {id,
            name,
            Cell::kGates,
            Cell::kState,
            kUnitParameters<Cell>,
            Cell::kRecurrent,
            Cell::kProjected,
            false,
            1,
            packed_size,
            tape_size,
            Forward::scratch_size,
            Backward::scratch_size,
            staged::pack_all<Cell, Vec, kMasked>,
            forward,
            backward,
            staged::read_tape<Cell, Vec, kMasked>,
            nullptr,
            nullptr};
  }
};

#define FR_ID(name) #name "_" FR_STRING(FR_TYPE) "__" FR_STRING(FR_ISA), #name
#define FR_HALF_f32 0
#define FR_HALF_f64 0
#define FR_HALF_bf16 1
#define FR_CELL(name, type) Entry<type, Vec<Scalar>, Element>::kernel(FR_ID(name)),
#if FR_JOIN(FR_HALF_, FR_TYPE)
#define FR_STAGED_CELL(name, type)
#else
#define FR_STAGED_CELL(name, type) StagedEntry<type, Vec<Scalar>, false>::kernel(FR_ID(name)),
#endif
constexpr Kernel<Scalar> kCells[] = {
#include "cells/cells.def"
};
#undef FR_CELL
#undef FR_STAGED_CELL

#if FR_JOIN(FR_HALF_, FR_TYPE)
constexpr const Kernel<Scalar>* kMasked = nullptr;
#else
#define FR_CELL(name, type) \
  StagedEntry<type, Vec<Scalar>, true>::kernel(#name "_masked_" FR_STRING(FR_TYPE) "__" FR_STRING(FR_ISA), #name),
#define FR_STAGED_CELL FR_CELL
constexpr Kernel<Scalar> kMasked[] = {
#include "cells/cells.def"
};
#undef FR_CELL
#undef FR_STAGED_CELL
#endif
}  // namespace

Kernels<Scalar> FR_JOIN(kernels_, FR_TYPE)() { return {sizeof kCells / sizeof *kCells, kCells, kMasked}; }
FR_NAMESPACE_END
