# SPDX-License-Identifier: MIT
"""Training: tasks are learned, bits repeat, and whatever stops a fit leaves a usable model."""

import itertools
import sys

import fastrnn
import numpy as np
import pytest
from fastrnn import training
from fastrnn.history import History
from networks import CELLS, build, echo, make, snapshot, tagger


@pytest.mark.parametrize("cell", CELLS)
def test_a_small_task_is_learned(cell):
    few = cell.startswith("indrnn") or cell == "lstm_projected"  # numbers by which units see each other
    model = tagger(cell, hidden=24 if few else 12)
    x, y = echo(150)
    history = model.fit(
        x, y, epochs=25, batch_size=8, optimizer=fastrnn.Adam(0.02), clip=fastrnn.Clip(norm=1.0),
        validation_data=echo(seed=6), seed=2, progress=False,
    )  # fmt: skip
    assert model.evaluate(*echo(seed=7))["accuracy"] == 1.0
    assert all(len(curve) == 25 for curve in vars(history).values())
    assert history.loss[0] > 1 > 0.2 > history.loss[-1]
    assert history.accuracy[-1] == history.validation_accuracy[-1] == 1.0
    assert history.validation_loss[-1] == model.evaluate(*echo(seed=6), batch_size=8)["loss"]
    assert (history.gradient_norm > 0).all()
    np.testing.assert_allclose(history.steps_per_second * history.seconds, sum(map(len, x)))


def test_sigmoid_and_linear_outputs_learn():
    rng = np.random.default_rng(3)
    x = [rng.standard_normal((rng.integers(1, 6), 2)).cumsum(axis=0) for _ in range(60)]
    past = [np.vstack((np.zeros((1, 2)), s[:-1])) for s in x]
    settings = {"epochs": 40, "batch_size": 8, "seed": 4, "progress": False}
    linear = fastrnn.NToN("lstm", 2, 16, 2, activation="linear", seed=5)
    history = linear.fit(x, past, optimizer=fastrnn.Adam(0.02), **settings)
    assert history.accuracy is history.validation_accuracy is history.validation_loss is None
    assert history.loss[-1] < 0.05 * history.loss[0]
    signs = [p > 0 for p in past]
    sigmoid = fastrnn.NToN("lstm", 2, 16, 2, activation="sigmoid", seed=5)
    assert sigmoid.fit(x, signs, optimizer=fastrnn.Adam(0.02), **settings).accuracy[-1] > 0.95


def test_same_seed_same_bits_for_any_number_of_threads():
    x, y = echo(200)

    def run(threads, seed):
        model = tagger("lstm", bidirectional=True)
        with fastrnn.threads(threads):
            model.fit(x, y, epochs=2, batch_size=16, seed=seed, progress=False, clip=fastrnn.Clip(norm=0.5))
        return snapshot(model)

    first = run(1, 0)
    assert all(run(threads, 0) == first for threads in (1, 2, 7))
    assert run(1, 1) != first


def test_one_update_is_the_optimizers_with_the_clip_scale():
    x, y = make()
    model = build()
    _, gradients = model.gradients(x, y)
    norm = np.sqrt(sum(np.square(g).sum() for g in gradients.values()))
    before = model.state_dict()
    history = model.fit(
        x,
        y,
        epochs=1,
        batch_size=100,
        optimizer=fastrnn.SGD(0.5),
        clip=fastrnn.Clip(norm=norm / 3),
        progress=False,
    )
    assert history.gradient_norm[0] == pytest.approx(norm, rel=1e-12)
    for name, array in model.parameters().items():
        np.testing.assert_allclose(array, before[name] - 0.5 / 3 * gradients[name], rtol=0, atol=1e-6)
        np.testing.assert_allclose(
            array, before[name] - 0.5 * (norm / 3) / (norm + 1e-6) * gradients[name], rtol=0, atol=1e-14
        )


def test_fit_goes_on_with_the_same_optimizer():
    x, y = echo()
    settings = {"batch_size": 8, "shuffle": False, "progress": False}
    whole, parts = tagger(), tagger()
    whole.fit(x, y, epochs=3, optimizer=fastrnn.Adam(), **settings)
    optimizer = fastrnn.Adam()
    for _ in range(3):
        parts.fit(x, y, epochs=1, optimizer=optimizer, **settings)
    assert snapshot(whole) == snapshot(parts)
    other = tagger(seed=2)
    before = snapshot(other)
    with pytest.raises(ValueError, match="an optimizer of its own"):
        other.fit(x, y, epochs=1, optimizer=optimizer, **settings)
    assert snapshot(other) == before


def interrupt_after(monkeypatch, model, batches, error):
    """The model's learn raises an error in place of the batch after that many."""
    learn, calls = model.learn, itertools.count()

    def wrapped(batch, gradients, clip):
        score = learn(batch, gradients, clip)
        if next(calls) == batches:
            raise error
        return score

    monkeypatch.setattr(model, "learn", wrapped)


def test_an_interrupted_fit_leaves_the_last_update(monkeypatch):
    x, y = echo()
    settings = {"batch_size": 8, "shuffle": False, "progress": True}
    model, twin = tagger(), tagger()
    batches = -(-sum(len(s) > 0 for s in x) // 8)
    interrupt_after(monkeypatch, model, batches, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=3, **settings)
    twin.fit(x, y, epochs=1, **settings)
    assert snapshot(model) == snapshot(twin)
    monkeypatch.undo()
    model.fit(x, y, epochs=1, **settings)
    twin.fit(x, y, epochs=1, **settings)
    assert snapshot(model) == snapshot(twin), "gradients of the interrupted batch were left behind"


def test_divergence_stops_before_the_update():
    x, y = make("features", "linear")
    y[4] = y[4] + 1e200
    model = build("lstm", "features", "linear")
    twin = build("lstm", "features", "linear")
    settings = {"shuffle": False, "batch_size": 3, "optimizer": fastrnn.SGD(0.1), "progress": False}
    with pytest.raises(
        FloatingPointError, match=r"the loss is inf in epoch 1, batch 2 of 2; the parameters are"
    ):
        model.fit(x, y, epochs=2, **settings)
    short = (2, 5, 3)
    twin.fit(
        [x[n] for n in short], [y[n] for n in short], epochs=1, **{**settings, "optimizer": fastrnn.SGD(0.1)}
    )
    assert snapshot(model) == snapshot(twin)


def test_a_gradient_that_overflows_stops_before_the_update():
    model = fastrnn.NToN("rnn_relu", 1, 1, 1, activation="linear", dtype="float32", seed=0)
    for array in model.parameters().values():
        array[:] = 1
    model.parameters()["rnn.weight_hh_l0"][:] = 1e30
    x, y = [np.zeros((2, 1))], [np.zeros((2, 1))]
    before = snapshot(model)
    assert np.isfinite(model.evaluate(x, y)["loss"])
    with pytest.raises(
        FloatingPointError, match=r"the norm of the gradient is (inf|nan) in epoch 1, batch 1 of 1"
    ):
        model.fit(x, y, epochs=1, progress=False)
    assert snapshot(model) == before


def test_progress_shows_loss_and_rate(capsys):
    pytest.importorskip("tqdm", reason="progress bars are optional")
    x, y = echo()
    tagger().fit(x, y, epochs=2, validation_data=(x, y))
    shown = capsys.readouterr().err
    for words in ("epoch 1/2", "epoch 2/2", "tok/s", "loss=", "accuracy=", "val_loss=", "val_accuracy="):
        assert words in shown


def test_progress_without_tqdm_is_silent(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    x, y = echo()
    assert len(tagger().fit(x, y, epochs=2, progress=True).loss) == 2
    monkeypatch.undo()
    tagger().fit(x, y, epochs=1, progress=False)
    assert capsys.readouterr() == ("", "")


def test_the_repr_of_a_history_is_of_its_last_epoch():
    curve = np.array([0.5, 0.123456])
    whole = History(curve, 1 - curve, 2 * curve, None, curve, curve, np.array([1.25, 2.5]), curve)
    assert (
        repr(whole) == "History(epochs=2, loss=0.1235, accuracy=0.8765, validation_loss=0.2469, seconds=3.75)"
    )
    none = np.empty(0)
    assert repr(History(none, None, None, None, none, none, none, none)) == "History(epochs=0)"


def test_loop_knows_no_topology():
    """training.py trains anything that is a Learner."""

    class Line:
        """y = w x by least squares; a batch is an index."""

        def __init__(self):
            self.w = np.zeros(1)

        def buffers(self):
            return {"w": self.w}

        def gradient_buffers(self):
            return {"w": fastrnn.gradients.Gradient(self.w)}

        def measure(self, index):
            error = (self.w[0] - 3.0) * len(index)
            return training.Score(error**2, len(index), None, len(index))

        def learn(self, index, gradients, clip):
            gradients["w"].flat += 2 * (self.w[0] - 3.0)
            return self.measure(index)

    class Numbers:
        lengths = np.ones(8, np.int64)

        def batch(self, index):
            return index

    line = Line()
    training.fit(line, Numbers(), epochs=20, batch_size=2, optimizer=fastrnn.SGD(0.1), progress=False)
    assert line.w[0] == pytest.approx(3.0, abs=1e-4)
