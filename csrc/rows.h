// SPDX-License-Identifier: MIT
// Where row s, b of the recurrence lies: in the arrays of the user and among the R rows of the library (Steps, api.h).
#pragma once
#include "api.h"
#include "cells/cell.h"
FR_NAMESPACE_BEGIN
struct Range {
  Index begin, end;
};

// Part i of n in `parts` parts that differ by one at most; without divisions where there is nothing to part, since a
// step of a small cell takes no longer than a few of them
FR_FN Range part(Index n, Index i, Index parts) {
  if (parts == 1) return {n * i, n * (i + 1)};
  if (parts == n) return {i, i + 1};
  return {n * i / parts, n * (i + 1) / parts};
}

struct Walk {
  Dims d;
  Steps s;

  FR_FN Index first(Index step) const { return s.first ? s.first[s.begin + step] - s.first[s.begin] : step * d.B; }
  FR_FN Index active(Index step) const {  // rows that take part in the step; 0 past the last of the recurrence
    const Index of_all = s.begin + step;
    return of_all >= s.total ? 0 : s.first ? s.first[of_all + 1] - s.first[of_all] : d.B;
  }
  // Rows of states in front of those that enter the step: the B initial ones, then one for each of the R rows
  FR_FN Index row_before(Index step) const { return step ? d.B + first(step - 1) : 0; }
  FR_FN Index whole_length(Index b) const { return s.lengths ? s.lengths[b] : s.total; }
  FR_FN Index length(Index b) const {  // steps of this call
    const Index left = whole_length(b) - s.begin;
    return left < 0 ? 0 : left < d.T ? left : d.T;
  }
  FR_FN bool first_segment() const { return s.begin == 0; }
  FR_FN bool last_segment() const { return s.begin + d.T >= s.total; }
  FR_FN Index user_row(Index b) const { return s.order ? s.order[b] : b; }
  FR_FN Index time(Index step, Index b) const {
    return s.reversed ? whole_length(b) - 1 - s.begin - step : s.begin + step;
  }

  // Whether a reset keeps the state from entering the step. It separates times t-1 and t in either direction.
  FR_FN bool cut(Index step, Index b) const {
    if (!s.reset || (s.reversed && s.begin + step == 0)) return false;
    return s.reset[(time(step, b) + s.reversed) * d.B + user_row(b)] != 0;
  }

  template <class T>
  FR_FN T* at(const Rows<T>& a, Index step, Index b) const {
    return a.p + time(step, b) * a.step + user_row(b) * a.row;
  }

  // Rows of a thread that owns batch rows. Long rows come first, so the rows are parted by their steps; thread `rank`
  // begins where the threads before it have their share of the R rows.
  Range share(int rank, int size) const {
    if (!s.lengths) return part(d.B, rank, size);
    Range range = {d.B, d.B};
    Index done = 0;
    for (Index b = 0, next = 0; b < d.B && next < size; done += length(b++))
      for (; next < size && done * size >= d.R * next; ++next) {
        if (next == rank) range.begin = b;
        if (next == rank + 1) range.end = b;
      }
    return range;
  }
};

// Row number `row` of R, as step and b
struct Cursor {
  const Walk& walk;
  Index row, step = 0, b = 0;
  FR_FN Cursor(const Walk& walk_, Index row_) : walk(walk_), row(row_) {
    if (!walk.s.first) {
      step = walk.d.B ? row / walk.d.B : 0;
    } else {  // the last step that begins at or before the row
      for (Index end = walk.d.T; step + 1 < end;) {
        const Index middle = step + (end - step) / 2;
        (walk.first(middle) <= row ? step : end) = middle;
      }
    }
    b = row - walk.first(step);
  }
  FR_FN void next() {
    ++row;
    if (++b < walk.active(step)) return;
    ++step, b = 0;
  }
};

// Memory of a call, taken piece by piece. Over a null pointer it only counts: the size of the scratch is what the
// same constructor takes.
template <class T>
struct Carve {
  T* p;
  Index used = 0;
  FR_FN T* take(Index n) { return take_as<T>(n); }
  template <class Item>
  FR_FN Item* take_as(Index n) {
    constexpr Index line = 64 / sizeof(T);
    Item* const at = p ? reinterpret_cast<Item*>(p + used) : nullptr;
    used += (n * Index(sizeof(Item)) / Index(sizeof(T)) + line) / line * line;
    return at;
  }
};
FR_NAMESPACE_END
