// SPDX-License-Identifier: MIT
// Module level of the PTX parser: variables, kernel signatures, and the way to the kernel bodies.

#include "parser.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "declaration.h"
#include "kernel_parser.h"
#include "text_cursor.h"

namespace ptxemu {
namespace {

class ModuleParser {
 public:
  ModuleParser(const std::string& ptx, Module* module) : cursor_(StripComments(ptx)), module_(module) {}

  void Parse() {
    for (cursor_.SkipBlanks(); !cursor_.AtEnd(); cursor_.SkipBlanks()) ParseItem();
  }

 private:
  void ParseItem() {
    for (const char* directive : {".version", ".target", ".address_size", ".file"}) {
      if (cursor_.StartsWith(directive)) return cursor_.SkipLine();
    }
    if (cursor_.StartsWith(".section")) return cursor_.SkipBlockOrStatement();
    const std::string head = cursor_.PeekUntilAny("(;{=");
    if (head.find(".entry") != std::string::npos) return ParseKernel();
    // Device functions that are not inlined are not supported; calling one is an error.
    if (head.find(".func") != std::string::npos) return cursor_.SkipBlockOrStatement();
    const std::string text = cursor_.ReadUntil(';');
    cursor_.Advance();
    AddVariable(ParseDeclaration(text));
  }

  void AddVariable(const Declaration& declaration) {
    if (declaration.name.empty() || declaration.type == Type::kNone) return;
    Symbol symbol;
    symbol.space = declaration.space;
    symbol.size = declaration.size;
    symbol.alignment = declaration.alignment;
    if (declaration.space == Space::kShared) {
      symbol.dynamic_shared = declaration.is_extern || declaration.size == 0;
    } else {
      symbol.address = StoreVariable(declaration);
    }
    module_->symbols[declaration.name] = symbol;
  }

  // Gives the variable memory in the module and its initial value; returns its address.
  uint64_t StoreVariable(const Declaration& declaration) {
    constexpr uint64_t kAlignment = 256;
    const size_t words = (declaration.size + kAlignment) / 8 + 1;
    auto storage = std::make_unique<uint64_t[]>(words);
    auto address = reinterpret_cast<uint64_t>(storage.get());
    address = (address + kAlignment - 1) / kAlignment * kAlignment;
    Initialize(declaration, reinterpret_cast<uint8_t*>(address));
    module_->storage.push_back(std::move(storage));
    return address;
  }

  void Initialize(const Declaration& declaration, uint8_t* memory) const {
    std::string values = declaration.initializer;
    if (values.empty()) return;
    if (values[0] == '{') values = values.substr(1, values.rfind('}') - 1);
    const size_t element = SizeOf(declaration.type);
    size_t offset = 0;
    for (const std::string& value : Split(values, ',')) {
      const uint64_t bits = InitialValue(value);
      if (offset + element > declaration.size) cursor_.Fail("too many initial values");
      std::memcpy(memory + offset, &bits, element);
      offset += element;
    }
  }

  // A number, or the address of an earlier variable: "name" or "generic(name)".
  uint64_t InitialValue(std::string text) const {
    uint64_t bits = 0;
    if (ParseNumber(text, &bits)) return bits;
    const size_t open = text.find('(');
    if (open != std::string::npos) text = text.substr(open + 1, text.find(')') - open - 1);
    const auto symbol = module_->symbols.find(Trim(text));
    if (symbol == module_->symbols.end()) cursor_.Fail("unknown initial value " + text);
    return symbol->second.address;
  }

  void ParseKernel() {
    auto kernel = std::make_shared<Kernel>();
    const std::string head = cursor_.PeekUntilAny("({");
    kernel->name = Trim(head.substr(head.find(".entry") + std::strlen(".entry")));
    for (size_t i = 0; i < head.size(); ++i) cursor_.Advance();
    if (cursor_.Peek() == '(') ParseParameters(kernel.get());
    ParsePerformanceDirectives(cursor_.ReadUntil('{'), kernel.get());
    cursor_.Advance();
    ParseKernelBody(&cursor_, module_, kernel.get());
    module_->kernels[kernel->name] = kernel;
  }

  void ParseParameters(Kernel* kernel) {
    cursor_.Advance();
    int offset = 0;
    for (const std::string& text : Split(cursor_.ReadUntil(')'), ',')) {
      const Declaration declaration = ParseDeclaration(text);
      const int alignment = declaration.alignment;
      offset = (offset + alignment - 1) / alignment * alignment;
      const int size = static_cast<int>(declaration.size);
      kernel->parameters.push_back({declaration.name, offset, size});
      offset += size;
    }
    kernel->parameter_bytes = offset;
    cursor_.Advance();
  }

  static void ParsePerformanceDirectives(const std::string& text, Kernel* kernel) {
    for (const char* name : {".maxntid", ".reqntid"}) {
      Dim3 size;
      if (ReadDimensions(text, name, &size)) kernel->max_threads = static_cast<int>(size.Count());
    }
    ReadDimensions(text, ".reqnctapercluster", &kernel->required_cluster);
  }

  static bool ReadDimensions(const std::string& text, const char* name, Dim3* size) {
    const size_t position = text.find(name);
    if (position == std::string::npos) return false;
    const char* numbers = text.c_str() + position + std::strlen(name);
    return std::sscanf(numbers, " %u , %u , %u", &size->x, &size->y, &size->z) >= 1;
  }

  TextCursor cursor_;
  Module* module_;
};

}  // namespace

void ParseModule(const std::string& ptx, Module* module) { ModuleParser(ptx, module).Parse(); }

}  // namespace ptxemu
