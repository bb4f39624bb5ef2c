// SPDX-License-Identifier: MIT
#include "beam.h"
#include <algorithm>
#include <cmath>
namespace fastrnn {

Beam::Beam(const Search& search, Index sequences) : search_(search), finished_(size_t(sequences)) {
  for (Index sequence = 0; sequence < sequences; ++sequence) rows_.push_back({sequence, {-1, 0, 0, false}});
}

double Beam::score(const Hypothesis& h) const {
  return h.log_probability / std::pow(double(std::max(h.length, Index(1))), search_.alpha);
}

// The best extensions of the rows of one sequence for its free places, the best first
template <class T>
void Beam::extend(const T* z, const double* log_sums, Index n, Index begin, Index end) {
  const size_t places = size_t(search_.width) - finished_[size_t(sequence(begin))].size();
  extensions_.clear();  // a heap with the worst on top
  for (Index row = begin; row < end; ++row) {
    const double before = rows_[size_t(row)].hypothesis.log_probability - log_sums[row];
    for (Index token = 0; token < n; ++token) {
      const Extension extension{before + double(z[row * n + token]), row, token};
      if (extension.log_probability == -INFINITY) continue;
      if (extensions_.size() == places) {
        if (!(extension < extensions_.front())) continue;
        std::pop_heap(extensions_.begin(), extensions_.end());
        extensions_.back() = extension;
      } else {
        extensions_.push_back(extension);
      }
      std::push_heap(extensions_.begin(), extensions_.end());
    }
  }
  std::sort_heap(extensions_.begin(), extensions_.end());
}

template <class T>
void Beam::step(const T* z, const double* log_sums, Index n) {
  next_.clear(), parents_.clear(), tokens_.clear();
  for (Index begin = 0, end; begin < rows(); begin = end) {
    const size_t sequence = size_t(rows_[size_t(begin)].sequence);
    for (end = begin; end < rows() && rows_[size_t(end)].sequence == Index(sequence);) ++end;
    extend(z, log_sums, n, begin, end);
    const size_t first = next_.size();
    for (const Extension& e : extensions_) {
      const Hypothesis& parent = rows_[size_t(e.row)].hypothesis;
      const bool ends = e.token == search_.end;
      const Hypothesis child{Index(nodes_.size()), parent.length + 1, e.log_probability, ends};
      nodes_.push_back({e.token, parent.node});
      if (ends) {
        finished_[sequence].push_back(child);
        continue;
      }
      next_.push_back({Index(sequence), child});
      parents_.push_back(e.row), tokens_.push_back(e.token);
    }
    if (next_.size() > first && done(Index(sequence), next_[first].hypothesis.log_probability))
      next_.resize(first), parents_.resize(first), tokens_.resize(first);
  }
  rows_.swap(next_);
}

bool Beam::done(Index sequence, double best_live) const {
  const std::vector<Hypothesis>& all = finished_[size_t(sequence)];
  if (Index(all.size()) < search_.best) return false;
  std::vector<double> scores;
  for (const Hypothesis& h : all) scores.push_back(score(h));
  const auto worst = scores.begin() + (search_.best - 1);
  std::nth_element(scores.begin(), worst, scores.end(), [](double a, double b) { return a > b; });
  return best_live / std::pow(double(search_.max_length), search_.alpha) <= *worst;
}

std::vector<Hypothesis> Beam::best(Index sequence) const {
  std::vector<Hypothesis> all = finished_[size_t(sequence)];
  for (const Row& row : rows_)
    if (row.sequence == sequence) all.push_back(row.hypothesis);
  std::stable_sort(all.begin(), all.end(),
                   [this](const Hypothesis& a, const Hypothesis& b) { return score(a) > score(b); });
  all.resize(std::min(all.size(), size_t(search_.best)));
  return all;
}

std::vector<Index> Beam::tokens_of(const Hypothesis& hypothesis) const {
  std::vector<Index> tokens;
  Index node = hypothesis.node;
  if (hypothesis.finished) node = nodes_[size_t(node)].before;
  for (; node >= 0; node = nodes_[size_t(node)].before) tokens.push_back(nodes_[size_t(node)].token);
  std::reverse(tokens.begin(), tokens.end());
  return tokens;
}

template void Beam::step(const float*, const double*, Index);
template void Beam::step(const double*, const double*, Index);
}  // namespace fastrnn
