// SPDX-License-Identifier: MIT
#include "dispatch.h"
#include <cstdlib>
#include <stdexcept>
#include "cpu.h"
#include "target.h"
namespace fastrnn {
namespace {
struct Candidate {
  KernelTable table;
  bool supported;
};

// Even asking a target for its tables runs instructions of its set.
#define FR_TARGET(name, bf16, supported)                                                                        \
  (supported ? Candidate{{#name, name::kernels_f32(), name::kernels_f64(), bf16::kernels_bf16(),            \
                          name::models_f32(), name::models_f64()},                                         \
                         true}                                                                             \
             : Candidate{{#name, {}, {}, {}, nullptr, nullptr}, false})
const std::vector<Candidate>& candidates() {  // in order of preference
  static const std::vector<Candidate> all = {
#if defined(FR_TARGETS_X86)
#if defined(FR_TARGET_AVX512BF16)
      cpu_has_avx512_bf16() ? FR_TARGET(avx512, avx512bf16, true) :
#endif
                            FR_TARGET(avx512, avx2, cpu_has_avx512()),  // which has AVX2 as well
      FR_TARGET(avx2, avx2, cpu_has_avx2()),
#elif defined(FR_TARGETS_ARM)
      FR_TARGET(neon, neon, true),
#endif
      FR_TARGET(portable, portable, true),
      FR_TARGET(reference, reference, true),
  };
  return all;
}
}  // namespace

std::vector<std::string> available_targets() {
  std::vector<std::string> names;
  for (const Candidate& candidate : candidates())
    if (candidate.supported) names.push_back(candidate.table.isa);
  return names;
}

std::vector<BuiltTarget> built_targets() {
  std::vector<BuiltTarget> found;
  for (const Candidate& candidate : candidates()) found.push_back({candidate.table.isa, candidate.supported});
  return found;
}

const KernelTable& find_target(const std::string& isa) {
  const char* forced = std::getenv("FASTRNN_ISA");
  const std::string name = !isa.empty() ? isa : forced ? forced : "";
  for (const Candidate& candidate : candidates())
    if (candidate.supported && (name.empty() || name == candidate.table.isa)) return candidate.table;
  std::string message =
      (isa.empty() ? "FASTRNN_ISA=" : "target ") + name + " is not available on this processor, which has:";
  for (const std::string& available : available_targets()) message += " " + available;
  throw std::invalid_argument(message);
}
}  // namespace fastrnn
