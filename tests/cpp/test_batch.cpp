// SPDX-License-Identifier: MIT
// Batch (network.h) and what rows.h makes of it, against an enumeration of the batch in the order of the user.
#include <algorithm>
#include "check.h"
#include "network.h"
#include "rows.h"

namespace {
using fastrnn::Batch;
using fastrnn::Cursor;
using fastrnn::Index;
using fastrnn::Range;
using fastrnn::Walk;

struct Sample {
  Index T, B;
  std::vector<Index> lengths;  // always B of them
  std::vector<unsigned char> resets;  // (T,B), empty: none
};

// What a batch is to be: rows by falling length, equal ones in the order of the user
struct Expected {
  std::vector<Index> order;
  std::vector<Index> active;  // rows of each step
  Index R = 0;
  explicit Expected(const Sample& sample) {
    for (Index length = sample.T; length >= 0; --length)
      for (Index b = 0; b < sample.B; ++b)
        if (sample.lengths[size_t(b)] == length) order.push_back(b);
    for (Index s = 0; s < sample.T; ++s) {
      active.push_back(0);
      for (Index length : sample.lengths) active.back() += length > s;
      R += active.back();
    }
  }
};

void check_rows(const Sample& sample, const Expected& want, const Walk& walk, bool reversed) {
  std::vector<int> places(size_t(sample.T * sample.B) + 1);
  const fastrnn::Rows<int> rows{places.data(), sample.B, 1};
  for (Index s = 0; s < sample.T; ++s)
    for (Index b = 0; b < walk.active(s); ++b) {
      const Index user = want.order[size_t(b)], length = sample.lengths[size_t(user)];
      const Index t = reversed ? length - 1 - s : s;
      CHECK(walk.time(s, b) == t, "step %td of row %td is at time %td, want %td", s, b, walk.time(s, b), t);
      CHECK(walk.at(rows, s, b) == &places[size_t(t * sample.B + user)], "step %td of row %td lies elsewhere", s, b);
      // A mark at t lies between t-1 and t. The state comes from t-1, in the reverse direction from t+1.
      const Index mark = reversed ? t + 1 : t;
      const bool cut = !sample.resets.empty() && mark < length && sample.resets[size_t(mark * sample.B + user)];
      CHECK(walk.cut(s, b) == cut, "a reset before step %td of row %td is %d, want %d", s, b, walk.cut(s, b), cut);
    }
}

void check_cursor(const Expected& want, const Walk& walk) {
  Index row = 0;
  for (Index s = 0; s < Index(want.active.size()); ++s)
    for (Index b = 0; b < want.active[size_t(s)]; ++b, ++row) {
      Cursor at(walk, row);
      CHECK(at.step == s && at.b == b, "row %td is step %td, row %td, want %td, %td", row, at.step, at.b, s, b);
      if (row + 1 == want.R) return;
      at.next();
      const Cursor next(walk, row + 1);
      CHECK(at.row == row + 1 && at.step == next.step && at.b == next.b, "after row %td comes step %td, row %td", row,
            at.step, at.b);
    }
}

// Ranges of the ranks follow each other over all rows, and none has more than its share of steps and one row
void check_shares(const Sample& sample, const Expected& want, const Walk& walk) {
  for (int size = 1; size <= 9; ++size) {
    Index end = 0;
    for (int rank = 0; rank < size; ++rank) {
      const Range share = walk.share(rank, size);
      CHECK(share.begin == end && share.end >= end, "rank %d of %d has rows [%td, %td) after %td", rank, size,
            share.begin, share.end, end);
      end = share.end;
      Index steps = 0;
      for (Index b = share.begin; b < share.end; ++b) steps += walk.length(b);
      CHECK(steps * size < want.R + size * (sample.T + 1), "rank %d of %d has %td of %td steps", rank, size, steps,
            want.R);
    }
    CHECK(end == sample.B, "%d ranks end at row %td of %td", size, end, sample.B);
  }
}

void check_batch(const Sample& sample) {
  const check::Case scope("T=%td B=%td resets=%d", sample.T, sample.B, !sample.resets.empty());
  const unsigned char* const resets = sample.resets.empty() ? nullptr : sample.resets.data();
  const Batch batch(sample.T, sample.B, sample.lengths.data(), resets);
  const Expected want(sample);
  CHECK(batch.T == sample.T && batch.B == sample.B && batch.R == want.R, "R is %td, want %td", batch.R, want.R);
  const fastrnn::Dims d = batch.dims(3, 4, 4);
  CHECK(d.T == sample.T && d.B == sample.B && d.I == 3 && d.H == 4 && d.R == want.R, "dims");
  for (bool reversed : {false, true}) {
    const check::Case direction("%s", reversed ? "reversed" : "forward");
    const Walk walk{d, batch.steps(reversed)};
    Index first = 0;
    for (Index s = 0; s < sample.T; ++s) {
      CHECK(walk.first(s) == first, "step %td begins at row %td, want %td", s, walk.first(s), first);
      CHECK(walk.active(s) == want.active[size_t(s)], "step %td has %td rows, want %td", s, walk.active(s),
            want.active[size_t(s)]);
      first += want.active[size_t(s)];
    }
    CHECK(walk.active(sample.T) == 0, "step T has %td rows", walk.active(sample.T));
    for (Index b = 0; b < sample.B; ++b) {
      const Index user = want.order[size_t(b)];
      CHECK(walk.user_row(b) == user && walk.length(b) == sample.lengths[size_t(user)],
            "row %td is %td with %td steps, want %td", b, walk.user_row(b), walk.length(b), user);
    }
    check_rows(sample, want, walk, reversed);
    check_cursor(want, walk);
    check_shares(sample, want, walk);
  }
}

// Where every row has T steps nothing is said; the arrays of the caller are copied
void check_arrays() {
  const std::vector<Index> whole(5, 7);
  const fastrnn::Steps dense = Batch(7, 5, whole.data(), nullptr).steps(true);
  CHECK(!dense.first && !dense.order && !dense.lengths && !dense.reset && dense.reversed, "a dense batch has arrays");
  const fastrnn::Steps none = Batch(7, 5, nullptr, nullptr).steps(false);
  CHECK(!none.first && !none.order && !none.lengths && !none.reset && !none.reversed, "no lengths, but arrays");
  std::vector<Index> lengths = {2, 3};
  std::vector<unsigned char> resets = {0, 1, 0, 0, 0, 0};
  const Batch batch(3, 2, lengths.data(), resets.data());
  lengths = {0, 0};
  resets.assign(6, 9);
  const fastrnn::Steps steps = batch.steps(false);
  CHECK(steps.lengths && steps.lengths[0] == 3 && steps.lengths[1] == 2 && steps.order[0] == 1,
        "lengths are not a copy");
  CHECK(steps.reset[1] == 1 && steps.reset[5] == 0, "resets are not a copy");
}

void check_parts() {
  for (Index n = 0; n < 20; ++n)
    for (Index parts = 1; parts < 25; ++parts)
      for (Index i = 0, end = 0; i < parts; ++i) {
        const Range range = fastrnn::part(n, i, parts);
        CHECK(range.begin == end && range.end - range.begin >= n / parts && range.end - range.begin <= n / parts + 1 &&
                  (i + 1 < parts || range.end == n),
              "part %td of %td of %td is [%td, %td)", i, parts, n, range.begin, range.end);
        end = range.end;
      }
}
}  // namespace

int main() {
  check_arrays();
  check_parts();
  check::Random random{1};
  const Index sizes[] = {0, 1, 2, 3, 5, 8, 17};
  for (Index T : sizes)
    for (Index B : sizes)
      for (int variant = 0; variant < 8; ++variant) {
        Sample sample{T, B, {}, {}};
        // all whole, all empty, all equal, then any
        const Index fixed[] = {T, 0, T / 2};
        for (Index b = 0; b < B; ++b) sample.lengths.push_back(variant < 3 ? fixed[variant] : random.below(T + 1));
        for (Index k = 0; variant % 2 && k < T * B; ++k) sample.resets.push_back(random.chance(0.3));
        check_batch(sample);
      }
  return check::report();
}
