# SPDX-License-Identifier: MIT
"""Options of layers and of calls drawn together at random, each case by its seed; and pairs that are refused.

FASTRNN_COMBINATIONS sets how many cases are run. A failure names its seed; `one(seed)` runs it again.
"""

import os

import fastrnn
import numpy as np
import oracle
import pytest
from fastrnn import _core
from refusal import B, H, I, T, refused, zeros
from runner import CLASSES, as_state, compare_bits, parts
from shapes import CELLS, make_lengths

COUNT, CHUNK = int(os.environ.get("FASTRNN_COMBINATIONS", "300")), 30
STEP, BOUND = (
    1e-6,
    1e-6,
)  # of central differences, and what they may be off by, relative to the larger of both norms


class Drawn:
    """A net, a call of it, and a linear loss."""

    def __init__(self, seed):
        self.seed = seed
        self.random = random = np.random.default_rng([17, seed])
        cell = str(random.choice(CELLS))
        facts, layers = oracle.CELLS[cell], self.integer(1, 3)
        self.T, self.B = self.integer(1, 9), self.integer(1, 5)
        self.truncated = self.flip(0.25)  # bptt takes no masks and runs forward alone
        width, inputs = self.integer(2, 9), self.integer(1, 6)
        options = {"bias": random.choice(["none", "one", "two"]).item(), "learn_state": self.flip()}
        options |= {"batch_first": self.flip(), "init": "xavier" if self.flip(0.3) else "uniform"}
        if not self.truncated:
            words = [str(random.choice(["forward", "reverse", "both"])) for _ in range(layers)]
            options |= {"direction": words}
            if layers > 1 and self.flip():
                options |= {"dropout": 0.4, "variational": self.flip()}
            if self.flip(0.3):
                options["input_dropout"] = 0.3
            if facts.recurrent and self.flip(0.3):
                options["recurrent_dropout"] = 0.3
            if self.flip(0.3):
                options["zoneout"] = (0.2, 0.3) if facts.states > 1 and self.flip() else 0.25
        self.net = CLASSES[cell](inputs, width, layers, dtype="float64", seed=seed, **options)
        # Norms are smooth where the numbers of a row differ
        self.net.flat[:] += random.uniform(-0.5, 0.5, self.net.flat.size) / width**0.5
        self.options = options
        self.draw_call(random)

    def integer(self, least, most):
        return int(self.random.integers(least, most + 1))

    def flip(self, chance=0.5):
        return bool(self.random.random() < chance)

    def draw_call(self, random):
        net, steps, rows = self.net, self.T, self.B
        self.unbatched = self.flip(0.15)
        if self.unbatched:
            rows = self.B = 1
        self.masks = {}
        if not self.unbatched and self.flip():
            self.masks["lengths"] = make_lengths(random, steps, rows)
        if self.flip(0.4):
            self.masks["reset"] = self.arranged(random.random((steps, rows)) < 0.3)
        if net._dropout:
            self.masks["dropout_seed"] = self.integer(0, 2**40)
        self.bptt = (k1 := self.integer(1, steps), self.integer(k1, steps + 2)) if self.truncated else None
        self.whole = self.truncated and self.flip()  # then each loss goes back to the start
        if self.whole:
            self.bptt = self.bptt[0], steps
        shapes = net._state_shapes(rows, self.unbatched)
        self.x = self.arranged(random.standard_normal((steps, rows, net.input_size)))
        self.dy = self.arranged(random.standard_normal((steps, rows, net.output_size)))
        self.dstate = [random.standard_normal(s) for s in shapes]
        self.state = [random.standard_normal(s) for s in shapes] if self.flip(0.4) else None

    def arranged(self, a):
        """(T,B,..) in the layout of the call."""
        return a[:, 0] if self.unbatched else a.swapaxes(0, 1).copy() if self.net.batch_first else a

    def forward(self, **options):
        state = None if self.state is None else as_state(self.state, "float64")
        return self.net.forward(self.x, state, **self.masks, **options)

    def loss(self):
        y, after, _ = self.forward()
        return (y * self.dy).sum() + sum((a * d).sum() for a, d in zip(parts(after).values(), self.dstate))

    def gradients(self, clip=None, **options):
        y, after, tape = self.forward(**options)
        grads = self.net.backward(tape, self.dy, as_state(self.dstate, "float64"), clip=clip)
        found = {"y": y, **parts(after), "x": grads.x, "flat": grads.flat, **parts(grads.state, "dstate")}
        return found

    def __str__(self):
        call = {name: np.shape(a) or a for name, a in self.masks.items()}
        return f"seed {self.seed}: {self.net!r} T={self.T} B={self.B} {call} bptt={self.bptt}"


def assert_slopes(drawn, got):
    """Directional central differences of the loss, to x, the state and the parameters."""
    moved = {"x": drawn.x, "flat": drawn.net.flat}
    if drawn.state is not None:
        moved |= {f"dstate{k}": s for k, s in enumerate(drawn.state)}
    for name, a in moved.items():
        move, kept = drawn.random.standard_normal(a.shape), a.copy()
        above, below = (at(drawn, a, kept + sign * STEP * move) for sign in (1, -1))
        a[...] = kept
        slope, want = (above - below) / (2 * STEP), (got[name] * move).sum()
        scale = np.linalg.norm(got[name]) + abs(above) + 1
        assert abs(slope - want) <= BOUND * scale, f"{name}: {slope} by differences, {want} told; {drawn}"


def at(drawn, a, values):
    a[...] = values
    return drawn.loss()


def one(seed):
    drawn = Drawn(seed)
    got = drawn.gradients()
    if not drawn.truncated:
        assert_slopes(drawn, got)
        assert_less_memory(drawn, got)
    elif drawn.whole:
        truncated = drawn.gradients(bptt=drawn.bptt)
        assert_slopes(drawn, truncated)
        for name, want in got.items():
            np.testing.assert_allclose(truncated[name], want, rtol=1e-9, atol=1e-9, err_msg=f"{name} {drawn}")
    else:
        assert_windows(drawn)
    if drawn.net.learn_state and drawn.state is not None:
        assert not got["flat"][drawn.net._layout["h0"][1] :].any(), f"a given state is used; {drawn}"
    assert_clamped(drawn, got)
    twin = CLASSES[drawn.net.cell](
        drawn.net.input_size, drawn.net.hidden_size, drawn.net.num_layers, dtype="float64", **drawn.options
    )
    twin.load_state_dict(drawn.net.state_dict())
    drawn.net = twin
    compare_bits(drawn.gradients(), got, f"of a net of the same state_dict; {drawn}")


def assert_less_memory(drawn, got):
    """The same bits within the least budget, by any number of threads."""
    with pytest.raises(ValueError, match="at least") as error:
        drawn.forward(max_workspace=1)
    least = int(str(error.value).split()[-1].replace("bytes", "") or str(error.value).split()[-2])
    _core.force_split([None, "batch", "units", "alone"][drawn.integer(0, 3)])
    try:
        with fastrnn.threads(drawn.integer(1, 2)):
            compare_bits(drawn.gradients(max_workspace=least), got, f"within {least} bytes; {drawn}")
    finally:
        _core.force_split(None)


def assert_windows(drawn):
    """Each window by a call of its own: those that begin at step 0 use and train the learned state, others do not."""
    net, (k1, k2), whole = drawn.net, drawn.bptt, drawn.gradients(bptt=drawn.bptt)
    axis = int(net.batch_first and not drawn.unbatched)
    lengths = drawn.masks.get("lengths", np.full(drawn.B, drawn.T))
    total = np.zeros(net.flat.size)

    def cut(a, begin, end):
        return a[:, begin:end] if axis else a[begin:end]

    def masks(begin, end):
        some = {"lengths": np.clip(lengths - begin, 0, end - begin)} if "lengths" in drawn.masks else {}
        return some | ({"reset": cut(drawn.masks["reset"], begin, end)} if "reset" in drawn.masks else {})

    state = None if drawn.state is None else as_state(drawn.state, "float64")
    for losses in range(0, drawn.T, k1):
        end = min(losses + k1, drawn.T)
        begin = losses if k1 == k2 else max(0, end - k2)
        entering = net(cut(drawn.x, 0, begin), state, **masks(0, begin))[1] if begin else state
        _, _, tape = net.forward(cut(drawn.x, begin, end), entering, **masks(begin, end))
        dy = cut(drawn.dy, begin, end).copy()
        cut(dy, 0, losses - begin)[...] = 0
        here = (lengths <= end) & ((lengths > losses) | (losses == 0))
        ends = [d * here.all() if drawn.unbatched else np.where(here[:, None], d, 0) for d in drawn.dstate]
        grads = net.backward(tape, dy, as_state(ends, "float64"))
        total += grads.flat
        if net.learn_state:
            trained = grads.flat[net._layout["h0"][1] :].any()
            assert begin == 0 or not trained, f"a later window trains the learned state; {drawn}"
    np.testing.assert_allclose(whole["flat"], total, rtol=1e-9, atol=1e-9, err_msg=str(drawn))


def assert_clamped(drawn, got):
    limit = float(np.abs(got["flat"]).max()) / 2
    if limit > 0:
        clipped = drawn.gradients(clip=fastrnn.Clip(value=limit))["flat"]
        np.testing.assert_array_equal(clipped, np.clip(got["flat"], -limit, limit), err_msg=str(drawn))


@pytest.mark.parametrize("first", range(0, COUNT, CHUNK))
def test_random_options(first):
    for seed in range(first, min(first + CHUNK, COUNT)):
        one(seed)


@pytest.mark.parametrize("option", [{}, {"learn_state": True}])
def test_streams_of_nets_that_drop(cell, option):
    """Steps and streams infer: they begin with the learned state and drop nothing."""
    net = CLASSES[cell](I, H, 2, dropout=0.5, input_dropout=0.5, zoneout=0.2, bias="one", seed=1, **option)
    net.flat[:] += 0.1
    x = np.random.default_rng(2).standard_normal((T, B, I)).astype("float32")
    want, final = net(x)
    stream = net.stream(B)
    got = np.stack([stream.step(x_t).copy() for x_t in x])
    compare_bits({"y": got, **parts(stream.state)}, {"y": want, **parts(final)})


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (fastrnn.LSTM, {"bidirectional": True, "direction": "both"}, ["bidirectional", "direction"]),
        (fastrnn.LSTM, {"dropout": 0.5, "num_layers": 1}, ["dropout", "num_layers"]),
        (fastrnn.LSTM, {"variational": True, "input_dropout": 0.5}, ["variational", "dropout"]),
        (fastrnn.LSTM, {"direction": ["both"], "num_layers": 2}, ["direction", "num_layers"]),
        (fastrnn.LSTM, {"peepholes": True, "layer_norm": True}, ["peepholes", "layer_norm"]),
        (fastrnn.LSTM, {"proj_size": 2, "layer_norm": True}, ["proj_size", "layer_norm"]),
        (fastrnn.LSTM, {"proj_size": 2, "peepholes": True}, ["proj_size", "peepholes"]),
        (fastrnn.LSTM, {"proj_size": H}, ["proj_size", "hidden_size"]),
        (fastrnn.LSTM, {"proj_size": 2, "dtype": "bfloat16"}, ["proj_size", "bfloat16"]),
        (fastrnn.LSTM, {"zoneout": 0.5, "dtype": "bfloat16"}, ["zoneout", "bfloat16"]),
        (fastrnn.LSTM, {"forget_bias": 1.0, "bias": False}, ["forget_bias", "bias"]),
        (fastrnn.LSTM, {"forget_bias": 1.0, "init": "chrono", "t_max": 9}, ["forget_bias", "init"]),
        (fastrnn.LSTM, {"t_max": 9, "init": "xavier"}, ["t_max", "init"]),
        (fastrnn.GRU, {"reset_after": False, "layer_norm": True}, ["reset_after", "layer_norm"]),
        (fastrnn.GRU, {"layer_norm": True, "dtype": "bfloat16"}, ["layer_norm", "bfloat16"]),
        (fastrnn.GRU, {"layer_norm": True, "forget_bias": 1.0}, ["forget_bias", "gru_layer_norm"]),
        (fastrnn.GRU, {"recurrent_dropout": 0.5, "dtype": "bfloat16"}, ["recurrent_dropout", "bfloat16"]),
        (fastrnn.GRU, {"zoneout": (0.1, 0.2)}, ["zoneout", "gru"]),
        (fastrnn.IndRNN, {"recurrent_dropout": 0.5}, ["recurrent_dropout", "IndRNN"]),
        (fastrnn.IndRNN, {"init": "orthogonal"}, ["init", "indrnn_relu"]),
    ],
    ids=str,
)
def test_options_of_layers_that_do_not_combine(make, options, words):
    refused(ValueError, words, make, I, H, **options)


@pytest.mark.parametrize(
    ("of_layer", "of_call", "words"),
    [
        ({}, {"bptt": (2, 3), "max_workspace": 9999}, ["bptt", "max_workspace"]),
        ({}, {"bptt": (2, 3), "training": False}, ["bptt", "training"]),
        ({}, {"bptt": (2, 3), "return_gates": True}, ["bptt", "return_gates"]),
        ({}, {"bptt": (2, 3), "return_cells": True}, ["bptt", "return_cells"]),
        ({"dropout": 0.5}, {"bptt": (2, 3), "dropout_seed": 1}, ["bptt", "dropout_seed"]),
        ({"dropout": 0.5}, {"bptt": (2, 3)}, ["bptt", "dropout"]),
        ({"input_dropout": 0.5}, {"bptt": (2, 3)}, ["bptt", "input_dropout"]),
        ({"recurrent_dropout": 0.5}, {"bptt": (2, 3)}, ["bptt", "recurrent_dropout"]),
        ({"zoneout": 0.5}, {"bptt": (2, 3)}, ["bptt", "zoneout"]),
        ({"zoneout": (0.0, 0.5)}, {"bptt": (2, 3)}, ["bptt", "zoneout"]),
        ({"bidirectional": True}, {"bptt": (2, 3)}, ["bptt", "bidirectional"]),
        ({"direction": ["forward", "reverse"]}, {"bptt": (2, 3)}, ["bptt", "direction"]),
        ({}, {"dropout_seed": 1}, ["dropout_seed", "dropout"]),
        ({"dropout": 0.5}, {"dropout_seed": 1, "training": False}, ["dropout_seed", "training"]),
        ({}, {"max_workspace": 9999, "training": False}, ["max_workspace", "training"]),
        ({}, {"max_workspace": 9999, "return_gates": True}, ["max_workspace", "return_gates"]),
        ({}, {"max_workspace": 9999, "return_cells": True}, ["max_workspace", "return_cells"]),
    ],
    ids=str,
)
def test_options_of_calls_that_do_not_combine(of_layer, of_call, words):
    net = fastrnn.LSTM(I, H, 2, seed=1, **of_layer)
    refused(ValueError, words, net.forward, zeros(T, B, I), **of_call)


@pytest.mark.parametrize("options", [{"bidirectional": True}, {"direction": ["reverse", "forward"]}], ids=str)
def test_steps_run_forward(options):
    word = next(iter(options))
    net = fastrnn.GRU(I, H, 2, **options)
    refused(ValueError, ["step", word], net.step, zeros(B, I))
    refused(ValueError, ["stream", word], net.stream, B)


def test_lengths_go_with_a_batch():
    refused(ValueError, ["lengths", "batch"], fastrnn.GRU(I, H), zeros(T, I), lengths=[T])
