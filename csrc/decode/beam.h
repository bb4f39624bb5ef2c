// SPDX-License-Identifier: MIT
// Beam search over the sequences of a batch.
//
// Each sequence has `width` places. At every step its live hypotheses are extended by every token; the best extensions
// take the places that no finished hypothesis has, and those that end with the end token are finished and keep theirs.
// Hypotheses are compared by log p / length^alpha, length with the end token. A sequence is done when all its
// places are finished, or when its `best` best finished hypotheses cannot be beaten: log p only falls and length^alpha
// grows up to max_length, so that a live one gets no further than log p / max_length^alpha.
//
// Extensions of equal log p: the one of the better parent, then of the smaller token. Tokens of probability 0 are none.
#pragma once
#include <vector>
#include "../api.h"
namespace fastrnn {

struct Search {
  Index width, best;  // places, and how many of the best are wanted
  double alpha;
  Index end;  // -1: none
  Index max_length;
};

struct Hypothesis {
  Index node;  // of its last token, -1: none
  Index length;  // with the end token
  double log_probability;
  bool finished;
};

class Beam {
 public:
  Beam(const Search& search, Index sequences);

  Index rows() const { return Index(rows_.size()); }
  Index sequence(Index row) const { return rows_[size_t(row)].sequence; }
  const std::vector<Index>& parents() const { return parents_; }  // of the rows, among those of the step before
  const std::vector<Index>& tokens() const { return tokens_; }  // of the rows, their last ones

  // z (rows,n): log p of token v after row r is z[r n + v] - log_sums[r]
  template <class T> void step(const T* z, const double* log_sums, Index n);

  // The best hypotheses of a sequence, once no row is left or max_length is reached, the best first
  std::vector<Hypothesis> best(Index sequence) const;
  std::vector<Index> tokens_of(const Hypothesis& hypothesis) const;  // without the end token
  double score(const Hypothesis& hypothesis) const;

 private:
  struct Row {
    Index sequence;
    Hypothesis hypothesis;
  };
  struct Node {
    Index token, before;
  };
  struct Extension {
    double log_probability;
    Index row, token;
    bool operator<(const Extension& other) const {  // the better one
      if (log_probability != other.log_probability) return log_probability > other.log_probability;
      return row != other.row ? row < other.row : token < other.token;
    }
  };
  template <class T> void extend(const T* z, const double* log_sums, Index n, Index begin, Index end);
  bool done(Index sequence, double best_live) const;

  const Search search_;
  std::vector<Row> rows_, next_;  // live, those of a sequence together, the best first
  std::vector<Index> parents_, tokens_;
  std::vector<Extension> extensions_;  // of the sequence at work
  std::vector<std::vector<Hypothesis>> finished_;  // of each sequence
  std::vector<Node> nodes_;
};

}  // namespace fastrnn
