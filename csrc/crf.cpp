// SPDX-License-Identifier: MIT
#include "crf.h"
#include <algorithm>
#include <vector>
#include "cpu.h"
#include "memory.h"
#include "threads.h"
namespace fastrnn {
namespace {
constexpr Index kMostGroups = 16;
constexpr double kManyProducts = 1 << 20;  // that are worth waking a thread: ~0.2 ms

// Calls work(row) for the rows of each group, in their order; scratch is the thread's own
template <class T, class Work>
void divide(const CrfKernels<T>& kernels, CrfArgs<T>& args, Index groups, const Work& work) {
  Buffer packed;
  {
    const FlushDenormals flush;
    packed = buffer_of<T>(kernels.packed_size(args.K));
    args.packed = packed.template as<T>();
    kernels.pack(args, packed.template as<T>());
  }
  Index longest = 0;
  double rows = 0;
  for (Index b = 0; b < args.B; ++b) longest = std::max(longest, args.lengths[b]), rows += double(args.lengths[b]);
  const bool many = rows * double(args.K) * double(args.K + 32) >= kManyProducts;
  ThreadLease lease(many ? int(std::min<Index>(thread_count(), groups)) : 1);
  std::vector<Buffer> scratch;
  for (int rank = 0; rank < lease.size(); ++rank)
    scratch.push_back(buffer_of<T>(kernels.scratch_size(longest, args.K)));
  lease.run(lease.size(), false, 0, [&](const Team& team) {
    for (Index group = team.rank; group < groups; group += team.size)
      for (Index b = group * args.B / groups; b < (group + 1) * args.B / groups; ++b)
        work(b, group, scratch[size_t(team.rank)].template as<T>());
  });
}

template <class T>
std::vector<Index> count_pairs(const CrfArgs<T>& args) {
  std::vector<Index> counts(size_t(args.K * args.K));
  for (Index b = 0; args.tags && b < args.B; ++b)
    for (Index t = 1; t < args.lengths[b]; ++t)
      ++counts[size_t(args.tags[(t - 1) * args.B + b] * args.K + args.tags[t * args.B + b])];
  return counts;
}
}  // namespace

template <class T>
void crf_values(const CrfKernels<T>& kernels, CrfArgs<T> args, T* d_transition) {
  const Index groups = std::min(args.B, kMostGroups), size = kernels.partial_size(args.K);
  Buffer partials;
  T* sums = nullptr;
  if (d_transition) {
    partials = buffer_of<T>(groups * size);
    std::fill_n(sums = partials.as<T>(), groups * size, T(0));
  }
  divide(kernels, args, groups, [&](Index b, Index group, T* scratch) {
    kernels.row(args, b, scratch, sums ? sums + group * size : nullptr);
  });
  if (!d_transition) return;
  const FlushDenormals flush;
  kernels.transition_gradient(args, sums, groups, count_pairs(args).data(), d_transition);
}

template <class T>
void crf_viterbi(const CrfKernels<T>& kernels, CrfArgs<T> args) {
  divide(kernels, args, args.B, [&](Index b, Index, T* scratch) { kernels.viterbi(args, b, scratch); });
}

template void crf_values(const CrfKernels<float>&, CrfArgs<float>, float*);
template void crf_values(const CrfKernels<double>&, CrfArgs<double>, double*);
template void crf_viterbi(const CrfKernels<float>&, CrfArgs<float>);
template void crf_viterbi(const CrfKernels<double>&, CrfArgs<double>);
}  // namespace fastrnn
