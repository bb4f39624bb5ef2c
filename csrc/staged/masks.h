// SPDX-License-Identifier: MIT
// Masks of the recurrence of one call (StateMasks, api.h), row by row, by the hash of ../mask.h: forward and backward
// make them alike. Recurrent dropout (Gal and Ghahramani 2016, arXiv:1512.05287) multiplies the h that W_hh sees by 0
// or 1 / (1 - p), the same for all steps of a sequence. Zoneout (Krueger et al. 2016, arXiv:1606.01305) takes new
// numbers of a state with the weight 1 or 0 in training, and with 1 - p in inference, and the previous ones with the rest.
#pragma once
#include "../mask.h"
#include "../rows.h"
FR_NAMESPACE_BEGIN
namespace staged {
template <class T>
struct Masks {
  const StateMasks* const masks;
  const Walk& walk;

  FR_FN bool training() const { return masks && masks->training; }

  // Factors of h, n of them and zeros up to `padded`
  FR_FN void dropout(Index b, Index n, Index padded, T* to) const {
    const double p = training() ? masks->dropout : 0;
    fill(Masked::kRecurrent, p, 0, b, n, padded, T(1 / (1 - p)), to);
  }
  // Weights of what is new in state q
  FR_FN void zoneout(int q, Index step, Index b, Index n, Index padded, T* to) const {
    const double p = masks ? masks->zoneout[q] : 0;
    if (training())
      return fill(q ? Masked::kMemory : Masked::kState, p, walk.time(step, b) + 1, b, n, padded, T(1), to);
    for (Index j = 0; j < padded; ++j) to[j] = j < n ? T(1 - p) : T(0);
  }

 private:
  FR_FN void fill(Masked what, double p, Index step, Index b, Index n, Index padded, T scale, T* to) const {
    const uint64_t row = p > 0 ? mask_row(masks->seed, what, masks->part, step, walk.user_row(b)) : 0;
    const int32_t least = p > 0 ? mask_level(p).least : 0;
    for (Index j = 0; j < n; ++j) to[j] = mask_factor(row, uint32_t(j), least, scale);
    for (Index j = n; j < padded; ++j) to[j] = 0;
  }
};

// What a state becomes: `fresh` with the weight w, what it was with the rest
template <class V>
FR_FN V zone(V w, V fresh, V previous) {
  return w * fresh + (V(1) - w) * previous;
}
}  // namespace staged
FR_NAMESPACE_END
