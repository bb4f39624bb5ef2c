# SPDX-License-Identifier: MIT
"""Decoders against one in plain NumPy that steps the layers and chooses by itself, and exhaustive search."""

import itertools

import fastrnn
import numpy as np
import pytest
from fastrnn.decoding import Attention, Pieces
from fastrnn.layers import CELLS

V, E, H = 5, 3, 6
END = 0


def mix(z):
    word = 2**64 - 1
    z = (z + 0x9E3779B97F4A7C15) & word
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & word
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & word
    return z ^ z >> 31


def uniform(seed, sequence, step, unit=0):
    return (mix(mix(mix(mix(seed) ^ sequence) ^ step) ^ unit) >> 11) * 2.0**-53


class Model:
    """Random weights of a decoder, its pieces for some sequences, and its steps in NumPy."""

    def __init__(self, cell="gru", kind=None, layers=1, rows=4, constant=None, vocabulary=V, dtype="float64"):
        draw = np.random.default_rng(3)
        self.kind, self.rows, self.constant_steps = kind, rows, constant
        self.fed = {None: 0, "luong": 0, "general": 4, "feeding": 4, "bahdanau": 7}[kind]
        self.net = CELLS[cell](E + self.fed, H, layers, dtype=dtype, seed=1)
        P = self.net.output_size
        self.net.flat[:] = draw.normal(0, 0.7, self.net.flat.size)
        self.embedding = draw.normal(size=(vocabulary + 1, E))
        self.bias = draw.normal(size=vocabulary)
        self.readout = draw.normal(size=(vocabulary, P if kind is None else 4)) * 2
        self.memory = draw.normal(size=(rows, 5, 7 if kind in ("general", "bahdanau") else P))
        self.lengths = np.arange(rows) % 5 + 1
        self.weights = draw.normal(size=(4, self.memory.shape[2] + P))
        self.W_q, self.W_m, self.v = draw.normal(size=(3, P)), draw.normal(size=(3, 7)), draw.normal(size=3)
        self.W_a = draw.normal(size=(P, 7))
        start = self.net(np.zeros((1, rows, E + self.fed), dtype))[1]
        self.states = tuple(
            draw.normal(size=a.shape) for a in (start if isinstance(start, tuple) else (start,))
        )
        self.constant = draw.normal(size=(rows, self.net._gates * H)) if constant is not False else None

    def pieces(self, rows=None):
        take = np.arange(self.rows) if rows is None else np.asarray(rows)
        state = tuple(a[:, take] for a in self.states)
        attention = None
        if self.kind is not None:
            memory = self.memory[take]
            keys = memory
            if self.kind == "general":
                keys = memory @ self.W_a.T
            if self.kind == "bahdanau":
                keys = memory @ self.W_m.T
            early = self.kind == "bahdanau"
            attention = Attention(
                keys, memory, self.weights, lengths=self.lengths[take], query=self.W_q if early else None,
                v=self.v if early else None, early=early, feeds=self.kind in ("feeding", "general"),
            )  # fmt: skip
        return Pieces(
            self.net, self.readout, self.bias, state if len(state) > 1 else state[0], embedding=self.embedding,
            constant=None if self.constant is None else self.constant[take], constant_steps=self.constant_steps,
            attention=attention,
        )  # fmt: skip

    def start(self, row):
        return tuple(a[:, row : row + 1] for a in self.states), np.zeros(self.fed)

    def attend(self, row, h):
        memory = self.memory[row, : self.lengths[row]]
        if self.kind == "bahdanau":
            score = np.tanh(self.W_q @ h + memory @ self.W_m.T) @ self.v
        else:
            score = (memory @ self.W_a.T if self.kind == "general" else memory) @ h
        a = np.exp(score - score.max())
        return a / a.sum() @ memory

    def step(self, row, t, token, before):
        """(log softmax of z, what the next step begins with)"""
        states, fed = before
        if self.kind == "bahdanau":
            fed = self.attend(row, states[0][-1, 0])
        x = np.concatenate([self.embedding[token], fed])[None, None]
        adds = self.constant is not None and (self.constant_steps is None or t < self.constant_steps)
        options = {"constant": self.constant[row : row + 1], "constant_steps": 1} if adds else {}
        y, after, _ = self.net.forward(x, states if len(states) > 1 else states[0], training=False, **options)
        h = y[0, 0]
        if self.kind is not None:
            context = fed if self.kind == "bahdanau" else self.attend(row, h)
            h = np.tanh(self.weights @ np.concatenate([context, h]))
            if self.kind in ("feeding", "general"):
                fed = h
        z = self.readout @ h + self.bias
        after = after if isinstance(after, tuple) else (after,)
        return z - z.max() - np.log(np.exp(z - z.max()).sum()), (after, fed)

    def produce(self, row, first, max_length, choose, end=END):
        tokens, score, before, token = [], 0.0, self.start(row), first
        for t in range(max_length):
            log_p, before = self.step(row, t, token, before)
            token = choose(log_p, row, t)
            score += log_p[token]
            if token == end:
                return tokens, score, True
            tokens.append(token)
        return tokens, score, False


def greedy(log_p, row, t):
    return int(np.argmax(log_p))


def sampler(temperature, top_k, top_p, seed):
    def choose(log_p, row, t):
        p = np.exp((log_p - log_p.max()) / temperature)
        order = np.argsort(-p, kind="stable")[:top_k]
        sums = np.cumsum(p[order])
        kept = order[: 1 + int((sums < top_p * sums[-1]).sum())] if top_p < 1 else order
        p[np.setdiff1d(np.arange(len(p)), kept)] = 0
        return int(np.argmax(np.cumsum(p) > uniform(seed, row, t) * p.sum()))

    return choose


def same(found, want):
    sequence, score, finished = found
    assert (sequence.tolist(), finished) == (want[0], want[2])
    np.testing.assert_allclose(score, want[1], rtol=1e-9, atol=1e-11)


KINDS = (None, "luong", "general", "feeding", "bahdanau")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kind", KINDS[:1] + KINDS[3:])
def test_greedy(cell, kind):
    model = Model(cell, kind, layers=2, constant=1)
    found = model.pieces().decode(V, max_length=9, end=END)
    assert len(found.n_best) == model.rows
    for row, best in enumerate(found.n_best):
        same(best[0], model.produce(row, V, 9, greedy))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [(1.0, None, 1.0), (0.5, None, 1.0), (2.0, 3, 1.0), (1.5, None, 0.8), (1.0, 4, 0.7)]
)
def test_sampling(kind, options):
    temperature, top_k, top_p = options
    model = Model("lstm", kind, rows=6, constant=None)
    found = model.pieces().sample(
        1, max_length=8, end=END, temperature=temperature, top_k=top_k, top_p=top_p, seed=11
    )
    for row, best in enumerate(found.n_best):
        same(best[0], model.produce(row, 1, 8, sampler(temperature, top_k, top_p, 11)))


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("end", [END, None])
def test_a_beam_that_holds_everything_is_exhaustive_search(alpha, end):
    vocabulary, steps = 3, 4
    model = Model("gru", "feeding", rows=3, vocabulary=vocabulary, constant=False)
    found = model.pieces().decode(1, max_length=steps, end=end, beam=vocabulary**steps, n_best=7, alpha=alpha)
    for row in range(model.rows):
        all_of = {}
        for path in itertools.product(range(vocabulary), repeat=steps):
            wanted = iter(path)
            tokens, score, finished = model.produce(row, 1, steps, lambda *_, w=wanted: next(w), end)
            all_of[tuple(tokens), finished] = score
        rank = sorted(all_of, key=lambda k: -all_of[k] / (len(k[0]) + k[1]) ** alpha)
        best = found.n_best[row]
        assert [(tuple(h.sequence.tolist()), h.finished) for h in best] == rank[:7]
        np.testing.assert_allclose([h.score for h in best], [all_of[k] for k in rank[:7]], rtol=1e-9)


def plain_beam(model, row, start, steps, width, n_best, alpha):
    live, finished = [([], 0.0, model.start(row), start)], []
    for t in range(steps):
        extended = []
        for tokens, score, before, token in live:
            log_p, after = model.step(row, t, token, before)
            extended += [(tokens, score + log_p[v], after, v) for v in range(len(log_p))]
        extended = sorted(extended, key=lambda e: -e[1])[: width - len(finished)]
        finished += [(tokens, score, True, len(tokens) + 1) for tokens, score, _, v in extended if v == END]
        live = [([*tokens, v], score, after, v) for tokens, score, after, v in extended if v != END]
        normalised = sorted((score / n**alpha for _, score, _, n in finished), reverse=True)
        if not live or (len(finished) >= n_best and live[0][1] / steps**alpha <= normalised[n_best - 1]):
            live = []
            break
    every = finished + [(tokens, score, False, len(tokens)) for tokens, score, _, _ in live]
    return sorted(every, key=lambda e: -e[1] / e[3] ** alpha)[:n_best]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize(("width", "n_best"), [(2, 1), (4, 2), (7, 7)])
def test_beam(kind, alpha, width, n_best):
    model = Model("lstm", kind, rows=5, constant=None)
    found = model.pieces().decode(2, max_length=10, end=END, beam=width, n_best=n_best, alpha=alpha)
    for row, best in enumerate(found.n_best):
        want = plain_beam(model, row, 2, 10, width, n_best, alpha)
        assert len(best) == len(want)
        for have, (tokens, score, finished, _) in zip(best, want):
            same(have, (tokens, score, finished))


@pytest.mark.parametrize("kind", [None, "feeding", "bahdanau"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", ["lstm", "gru_layer_norm"])
def test_a_result_does_not_depend_on_the_batch_or_on_threads(cell, kind, dtype):
    model = Model(cell, kind, rows=64, constant=None, dtype=dtype)

    def run(rows, threads=1):
        with fastrnn.threads(threads):
            pieces = model.pieces(rows)
            return [
                (h.sequence.tobytes(), h.score, h.finished)
                for best in zip(
                    pieces.decode(1, max_length=12, end=END).n_best,
                    pieces.decode(1, max_length=12, end=END, beam=3, n_best=3).n_best,
                )
                for hypotheses in best
                for h in hypotheses
            ]

    whole = run(range(64))
    each = [run([row]) for row in range(64)]
    assert whole == [h for found in each for h in found]
    assert whole == run(range(64), 2)
    for rows in ([3, 9], [9, 3, 40, 8, 1, 2, 63]):
        assert run(rows) == [h for row in rows for h in each[row]]


def test_more_tokens_than_are_kept():
    """Products of 40 MB, beyond the 32 MB that are kept: results are those of sequences one by one."""
    draw, rows = np.random.default_rng(2), 3400
    net = fastrnn.LSTM(2, 512, seed=1)
    embedding = draw.normal(size=(rows, 2)).astype(np.float32)
    readout = draw.normal(size=(rows, 512)).astype(np.float32)
    state = tuple(draw.normal(size=(1, rows, 512)).astype(np.float32) for _ in "hc")

    def run(index):
        of_rows = tuple(np.ascontiguousarray(a[:, index]) for a in state)
        pieces = Pieces(net, readout, None, of_rows, embedding=embedding)
        found = pieces.decode(np.arange(rows)[index], max_length=2)
        return [(s.tolist(), score) for s, score in zip(found.sequences, found.scores)]

    together = run(slice(None))
    assert len({s[0] for s, _ in together}) > 100
    for first in range(0, rows, 500):
        assert run(slice(first, first + 3)) == together[first : first + 3]


def test_numbers():
    draw = np.random.default_rng(0)
    net = fastrnn.LSTM(4, H, dtype="float64", seed=0)
    W, b = draw.normal(size=(4, H)) * 3, draw.normal(size=4)
    state = (draw.normal(size=(1, 3, H)), draw.normal(size=(1, 3, H)))
    pieces = Pieces(net, W, b, state, numbers=True)
    for sigmoid, temperature in ((False, 0.0), (True, 0.0), (True, 0.8)):
        found = pieces.generate(length=6, sigmoid=sigmoid, temperature=temperature, seed=5)
        for row in range(3):
            y, before, score = np.zeros((1, 1, 4)), tuple(a[:, row : row + 1] for a in state), 0.0
            for t in range(6):
                h, before = net(y, before)
                z = W @ h[0, 0] + b
                y = z
                if sigmoid:
                    p = 1 / (1 + np.exp(-z / (temperature or 1)))
                    y = z > 0 if not temperature else np.array([uniform(5, row, t, k) for k in range(4)]) < p
                    score -= np.log1p(np.exp(np.where(y, -z, z))).sum()
                np.testing.assert_allclose(found.sequences[row][t], y, rtol=1e-9, atol=1e-12)
                y = np.asarray(y, float)[None, None]
            np.testing.assert_allclose(found.scores[row], score, rtol=1e-9)


def test_an_end_that_never_comes():
    model = Model(constant=False)
    model.bias[END] = -1e9
    found = model.pieces().decode(1, max_length=3, end=END)
    assert [len(s) for s in found.sequences] == [3] * model.rows
    assert not found.finished.any()
    assert [len(s) for s in model.pieces().decode(1, max_length=1).sequences] == [1] * model.rows


def test_bad_input():
    model = Model(constant=False)
    pieces = model.pieces()
    for error, call in (
        (ValueError, lambda: pieces.decode(V + 1, max_length=3)),
        (TypeError, lambda: pieces.decode(1.5, max_length=3)),
        (ValueError, lambda: pieces.decode(1, max_length=0)),
        (ValueError, lambda: pieces.decode(1, max_length=3, beam=2, n_best=3)),
        (ValueError, lambda: pieces.decode(1, max_length=3, end=V)),
        (ValueError, lambda: pieces.sample(1, max_length=3, top_p=0.0)),
        (ValueError, lambda: Pieces(model.net, model.readout[:, 1:], None, model.states[0])),
        (ValueError, lambda: Pieces(model.net, model.readout, None, model.states[0])),
    ):
        with pytest.raises(error):
            call()
    model.bias[1] = np.nan
    with pytest.raises(ValueError, match="sequence 0 at step 0"):
        model.pieces().decode(1, max_length=3)
