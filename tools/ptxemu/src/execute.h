// SPDX-License-Identifier: MIT
// The table from mnemonic to handler, and the helpers that instruction families share.
//
// For each mnemonic there is a binder. It runs once, at parse time: it decodes what is private to
// the family and returns the handler for the types and modifiers at hand, or nullptr if they are
// not supported. Handlers run once per thread and instruction and look at nothing but decoded
// fields.

#ifndef PTXEMU_EXECUTE_H_
#define PTXEMU_EXECUTE_H_

#include <string>
#include <unordered_map>

#include "instruction.h"
#include "machine.h"

namespace ptxemu {

using Binder = Handler (*)(Instruction&);
using BinderTable = std::unordered_map<std::string, Binder>;

// By first part of the mnemonic.
const BinderTable& Binders();

// Each instruction family adds its binders.
void AddIntegerBinders(BinderTable* table);     // execute_integer.cpp
void AddBitBinders(BinderTable* table);         // execute_bits.cpp
void AddSelectBinders(BinderTable* table);      // execute_select.cpp
void AddFloatBinders(BinderTable* table);       // execute_float.cpp
void AddConversionBinders(BinderTable* table);  // execute_convert.cpp
void AddMemoryBinders(BinderTable* table);      // execute_memory.cpp
void AddControlBinders(BinderTable* table);     // execute_control.cpp
void AddCallBinders(BinderTable* table);        // execute_call.cpp
void AddWarpBinders(BinderTable* table);        // execute_warp.cpp
void AddMatrixBinders(BinderTable* table);      // execute_matrix.cpp
void AddClusterBinders(BinderTable* table);     // execute_cluster.cpp
void AddMbarrierBinders(BinderTable* table);    // execute_mbarrier.cpp

// Binders of forms that belong to another family than their mnemonic.
Handler BindWarpBarrier(Instruction& instruction);  // bar.warp, execute_warp.cpp
Handler BindAsyncCopy(Instruction& instruction);    // cp.async, execute_memory.cpp
Handler BindStoreAsync(Instruction& instruction);   // st.async, execute_mbarrier.cpp

// Performs all cp.async that the thread has issued.
void CompleteAsyncCopies(Context& context, const Instruction& instruction);

// Float forms of mnemonics that integers have too (add, min, neg ...); nullptr for other types.
Handler BindFloatArithmetic(Instruction& instruction);

// Combines two values of `type` as atomics and reductions do.
uint64_t Combine(AtomicOp op, Type type, uint64_t a, uint64_t b);

// Runs f(lane, context) for each lane in `active`.
template <typename Function>
void ForEachLane(Launch& launch, Block& block, int warp, uint32_t active, Function f) {
  for (int lane = 0; lane < kWarpSize; ++lane) {
    if ((active >> lane & 1) == 0) continue;
    Context context(launch, block, block.threads[warp * kWarpSize + lane]);
    f(lane, context);
  }
}

}  // namespace ptxemu

#endif  // PTXEMU_EXECUTE_H_
