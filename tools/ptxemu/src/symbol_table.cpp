// SPDX-License-Identifier: MIT
// What a kernel declares, and what it uses of the shared variables of its module, lies one behind the other.

#include "symbol_table.h"

#include <algorithm>

namespace ptxemu {
namespace {

uint32_t Place(uint32_t* used, const Symbol& symbol) {
  const uint32_t start = (*used + symbol.alignment - 1) / symbol.alignment * symbol.alignment;
  *used = start + static_cast<uint32_t>(symbol.size);
  return start;
}

}  // namespace

void SymbolTable::Declare(const Declaration& declaration, const TextCursor& cursor) {
  if (declaration.name.empty()) return;
  Symbol symbol;
  symbol.space = declaration.space;
  symbol.size = declaration.size;
  symbol.alignment = declaration.alignment;
  if (declaration.space == Space::kShared) {
    symbol.dynamic_shared = declaration.is_extern || declaration.size == 0;
    PlaceShared(&symbol);
  } else if (declaration.space == Space::kLocal || declaration.space == Space::kParameter) {
    // Parameters of calls are private to the thread, so they get a place in its local memory.
    symbol.space = Space::kLocal;
    symbol.address = Place(&kernel_.local_bytes, symbol);
  } else {
    cursor.Fail("variable in an unexpected space: " + declaration.name);
  }
  symbols_[declaration.name] = symbol;
}

void SymbolTable::PlaceShared(Symbol* symbol) {
  if (symbol->dynamic_shared) {
    int& alignment = kernel_.dynamic_shared_alignment;
    alignment = std::max(alignment, symbol->alignment);
  } else {
    symbol->address = kSharedStart + Place(&kernel_.shared_bytes, *symbol);
  }
}

const Symbol* SymbolTable::Find(const std::string& name) {
  const auto local = symbols_.find(name);
  if (local != symbols_.end()) return &local->second;
  for (const Parameter& parameter : kernel_.parameters) {
    if (parameter.name == name) return AddParameter(parameter);
  }
  const auto global = module_.symbols.find(name);
  if (global == module_.symbols.end()) return nullptr;
  if (global->second.space != Space::kShared) return &global->second;
  // Shared variables at module scope get their place in each kernel that uses them.
  Symbol symbol = global->second;
  PlaceShared(&symbol);
  return &(symbols_[name] = symbol);
}

const Symbol* SymbolTable::AddParameter(const Parameter& parameter) {
  Symbol symbol;
  symbol.space = Space::kParameter;
  symbol.address = static_cast<uint64_t>(parameter.offset);
  symbol.size = static_cast<uint64_t>(parameter.size);
  return &(symbols_[parameter.name] = symbol);
}

}  // namespace ptxemu
