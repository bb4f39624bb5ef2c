// SPDX-License-Identifier: MIT
// Assembles the table from mnemonic to binder.

#include "execute.h"

namespace ptxemu {

const BinderTable& Binders() {
  static const BinderTable* table = [] {
    auto* binders = new BinderTable;
    AddIntegerBinders(binders);
    AddBitBinders(binders);
    AddSelectBinders(binders);
    AddFloatBinders(binders);
    AddConversionBinders(binders);
    AddMemoryBinders(binders);
    AddControlBinders(binders);
    AddCallBinders(binders);
    AddWarpBinders(binders);
    AddMatrixBinders(binders);
    AddClusterBinders(binders);
    AddMbarrierBinders(binders);
    return binders;
  }();
  return *table;
}

}  // namespace ptxemu
