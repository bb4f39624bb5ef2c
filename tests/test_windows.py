# SPDX-License-Identifier: MIT
"""fit(bptt=k): each window is the loop by hand, its state carried, its gradients stopped at its start."""

import fastrnn
import numpy as np
import pytest
from networks import CELLS, build, echo, make, snapshot, tagger

LENGTHS = [11, 7, 0, 12, 3, 12, 8]


def by_hand(model, x, y, k, batch_size, lr, learned=False):
    """One epoch of SGD over windows without shuffling, by the layers' own forward and backward; losses by window."""
    order = [n for n in np.argsort([len(s) for s in x], kind="stable") if len(x[n])]
    losses, gradients = [], []
    for at in range(0, len(order), batch_size):
        rows = order[at : at + batch_size]
        state = None
        for begin in range(0, max(len(x[n]) for n in rows), k):
            parts = [(x[n][begin : begin + k], y[n][begin : begin + k]) for n in rows]
            lengths = [len(part) for part, _ in parts]
            T = max(lengths)
            inputs = np.zeros((T, len(rows), x[0].shape[1]))
            for b, (part, _) in enumerate(parts):
                inputs[: len(part), b] = part
            h, state, tape = model.rnn.forward(inputs, state, lengths=lengths)
            weight, bias = model.readout.weight, model.readout.bias
            error = np.zeros((T, len(rows), len(bias)))
            for b, (_, target) in enumerate(parts):
                error[: len(target), b] = h[: len(target), b] @ weight.T + bias - target
            count = sum(lengths) * len(bias)
            losses.append(((error**2).sum() / count, count))
            dz = 2 * error / count
            below = model.rnn.backward(tape, dz @ weight)
            dw, db = np.einsum("tbk,tbh->kh", dz, h), dz.sum((0, 1))
            gradients.append(np.concatenate((below.flat, dw.reshape(-1), db)))
            model.rnn.flat[:] -= lr * below.flat
            weight -= lr * dw
            bias -= lr * db
    return losses, gradients


@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"learn_state": True}], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_windows_are_the_loop_by_hand(cell, options):
    x, y = make("features", "linear", LENGTHS)
    model, twin = (build(cell, "features", "linear", **options) for _ in range(2))
    norms = []
    losses, gradients = by_hand(twin, x, y, 5, 4, 0.1)

    class Watch(fastrnn.Callback):
        def on_update_end(self, state):
            norms.append(state.loss)

    history = model.fit(
        x, y, epochs=1, batch_size=4, bptt=5, shuffle=False, optimizer=fastrnn.SGD(0.1), callbacks=[Watch()],
        progress=False,
    )  # fmt: skip
    for name, array in twin.parameters().items():
        np.testing.assert_allclose(model.parameters()[name], array, rtol=0, atol=1e-13)
    assert len(losses) == len(norms) == 3 + 3, "of 3, 7, 8, 11 steps; of 12, 12"
    sums = np.cumsum([loss * count for loss, count in losses])
    np.testing.assert_allclose(norms, sums / np.cumsum([count for _, count in losses]), rtol=1e-12)
    assert history.gradient_norm[0] == pytest.approx(
        np.mean([np.linalg.norm(g) for g in gradients]), rel=1e-12
    )


def test_a_window_beyond_the_longest_is_the_whole():
    x, y = echo()
    model, twin = tagger(), tagger()
    options = {"epochs": 2, "batch_size": 8, "seed": 3, "progress": False}
    got = model.fit(x, y, bptt=100, **options)
    want = twin.fit(x, y, **options)
    assert snapshot(model) == snapshot(twin)
    assert got.loss.tolist() == want.loss.tolist()


def test_what_is_remembered_across_windows_is_learned():
    """The label is the first token of the stream: only a carried state knows it in later windows."""
    rng = np.random.default_rng(3)
    x = [rng.integers(0, 4, 12) for _ in range(120)]
    y = [np.full(12, tokens[0]) for tokens in x]
    model = tagger("lstm", hidden=24)
    model.fit(
        x, y, epochs=40, batch_size=8, bptt=6, optimizer=fastrnn.Adam(0.02), clip=fastrnn.Clip(norm=1.0), seed=1,
        progress=False,
    )  # fmt: skip
    assert model.evaluate(x, y)["accuracy"] > 0.95


def test_windows_may_be_gathered():
    """Two windows of an update have the mean gradient at the same parameters."""
    x, y = make("features", "linear", [10, 10])
    model, twin = build("gru", "features", "linear"), build("gru", "features", "linear")
    model.fit(x, y, epochs=1, bptt=5, accumulate=2, optimizer=fastrnn.SGD(0.1), progress=False)
    _, gradients = by_hand(twin, x, y, 5, 2, 0.0)
    flat = np.concatenate([model.rnn.flat, model.readout.flat])
    start = np.concatenate([twin.rnn.flat, twin.readout.flat])
    np.testing.assert_allclose(flat, start - 0.1 * np.mean(gradients, axis=0), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("options", "bptt", "error", "words"),
    [
        ({}, 0, ValueError, "bptt is 0"),
        ({}, (5, 5), TypeError, r"bptt is \(5, 5\)"),
        (
            {"bidirectional": True},
            5,
            ValueError,
            "bptt=5 runs forward in time, but this net is bidirectional",
        ),
    ],
)
def test_bad_bptt(options, bptt, error, words):
    x, y = make()
    model = build(**options)
    before = snapshot(model)
    with pytest.raises(error, match=words):
        model.fit(x, y, epochs=1, bptt=bptt, progress=False)
    assert snapshot(model) == before
