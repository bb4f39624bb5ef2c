# SPDX-License-Identifier: MIT
"""Updates of several batches are those of one batch of all their rows; what iterables of batches give is the same."""

import fastrnn
import numpy as np
import pytest
from networks import LENGTHS, build, echo, make, padded, snapshot, tagger

ACTIVATIONS = [("ids", "softmax"), ("features", "sigmoid"), ("features", "linear")]


def close(model, twin):
    for name, array in twin.parameters().items():
        np.testing.assert_allclose(model.parameters()[name], array, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("inputs", "activation"), ACTIVATIONS)
@pytest.mark.parametrize(
    "clip", [None, fastrnn.Clip(norm=0.05), fastrnn.Clip(value=0.004), fastrnn.Clip(value=0.01, norm=0.02)]
)
def test_batches_of_one_update_are_one_batch(inputs, activation, clip):
    """Of sequences of 1 to 9 steps, so that batches have different numbers of rows; 4 batches of 3, the last of 1."""
    x, y = make(inputs, activation, [4, 9, 0, 1, 3, 4, 2, 7, 5, 1, 6])
    model, twin = build("lstm", inputs, activation), build("lstm", inputs, activation)
    options = {"epochs": 3, "clip": clip, "shuffle": False, "progress": False}
    got = model.fit(x, y, batch_size=3, accumulate=4, optimizer=fastrnn.SGD(0.5, momentum=0.9), **options)
    want = twin.fit(x, y, batch_size=100, optimizer=fastrnn.SGD(0.5, momentum=0.9), **options)
    close(model, twin)
    np.testing.assert_allclose(got.loss, want.loss, rtol=1e-12)
    np.testing.assert_allclose(got.gradient_norm, want.gradient_norm, rtol=1e-12)


def test_weighted_rows_of_several_batches_are_those_of_one():
    """The mean loss of a batch is over the weights of its labels; one of them is ignored, in some batches all are."""
    x, y = make("ids", "softmax", [1, 1, 2, 2, 3, 3, 4, 4])
    y[2][:] = y[3][:] = 2
    y[0][:], y[4][:] = 1, 0
    loss = fastrnn.CrossEntropy(class_weight=(0.3, 2.0, 1.0), ignore_index=2)
    model, twin = build(loss=loss), build(loss=loss)
    options = {"epochs": 2, "shuffle": False, "progress": False}
    got = model.fit(x, y, batch_size=2, accumulate=2, optimizer=fastrnn.SGD(0.5), **options)
    want = twin.fit(x, y, batch_size=4, optimizer=fastrnn.SGD(0.5), **options)
    close(model, twin)
    np.testing.assert_allclose(got.loss, want.loss, rtol=1e-12)


def test_updates_in_which_nothing_counts_change_nothing():
    x, y = make("ids", "softmax", [1, 1, 3])
    for tags, label in zip(y, (2, 2, 1)):
        tags[:] = label
    model = build(loss=fastrnn.CrossEntropy(ignore_index=2))
    seen = []

    class Watch(fastrnn.Callback):
        def on_update_end(self, state):
            seen.append((snapshot(state.model) == before, state.loss > 0))

    before = snapshot(model)
    model.fit(
        x, y, epochs=1, batch_size=1, accumulate=2, optimizer=fastrnn.SGD(0.5), shuffle=False, callbacks=[Watch()],
        progress=False,
    )  # fmt: skip
    assert seen == [(True, False), (False, True)]


def test_the_norm_of_an_epoch_is_a_mean_over_its_updates():
    x, y = make("ids", "softmax", [1, 2, 3, 4, 5])
    model = build()
    options = {"batch_size": 1, "accumulate": 2, "shuffle": False, "progress": False}
    norms = model.fit(x, y, epochs=3, optimizer=fastrnn.SGD(0.0), **options).gradient_norm
    of = [model.gradients(x[at : at + 2], y[at : at + 2])[1].values() for at in (0, 2, 4)]
    want = np.mean([np.sqrt(sum(np.square(g).sum() for g in gradients)) for gradients in of])
    np.testing.assert_allclose(norms, want, rtol=1e-12)


def test_what_is_left_at_the_end_of_an_epoch_is_an_update():
    x, y = make("ids", "softmax", [1, 2, 3, 4, 5])
    model, twin = build(), build()
    updates = []

    class Watch(fastrnn.Callback):
        def on_update_end(self, state):
            updates.append(state.batch)

    options = {"epochs": 2, "shuffle": False, "progress": False}
    model.fit(x, y, batch_size=1, accumulate=2, optimizer=fastrnn.SGD(0.5), callbacks=[Watch()], **options)
    twin.fit(x, y, batch_size=2, optimizer=fastrnn.SGD(0.5), **options)
    close(model, twin)
    assert updates == [2, 4, 5, 2, 4, 5]


def test_a_loss_that_is_not_finite_stops_before_the_update():
    x, y = make("features", "linear", [1, 2, 3, 4])
    y[2] = y[2] + 1e200
    model = build("lstm", "features", "linear")
    before = snapshot(model)
    with pytest.raises(FloatingPointError, match="the loss is inf in epoch 1, batch 3 of 4"):
        model.fit(x, y, epochs=1, batch_size=1, accumulate=4, shuffle=False, progress=False)
    assert snapshot(model) == before


@pytest.mark.parametrize(("accumulate", "error"), [(0, ValueError), (2.0, TypeError), (True, TypeError)])
def test_bad_accumulate(accumulate, error):
    x, y = make()
    with pytest.raises(error, match=f"accumulate is {accumulate}"):
        build().fit(x, y, epochs=1, accumulate=accumulate, progress=False)


# ---- batches of the caller's own ----


def cut(x, y, size):
    """As bucketing without shuffling has them."""
    order = np.argsort([len(s) for s in x], kind="stable")
    order = [n for n in order if len(x[n])]
    return [([x[n] for n in order[at : at + size]], [y[n] for n in order[at : at + size]])
            for at in range(0, len(order), size)]  # fmt: skip


@pytest.mark.parametrize("form", ["iterable", "function", "iterator"])
def test_batches_of_the_callers_own(form):
    x, y = echo()
    batches = cut(x, y, 8)
    epochs = 1 if form == "iterator" else 3
    asked = []

    def give(epoch):
        asked.append(epoch)
        return iter(batches)

    class Loader:
        def __iter__(self):
            return iter(batches)

    model, twin = tagger(), tagger()
    source = {"iterable": Loader(), "function": give, "iterator": iter(batches)}[form]
    got = model.fit(source, epochs=epochs, validation_data=(x, y), progress=False)
    want = twin.fit(x, y, epochs=epochs, batch_size=8, shuffle=False, validation_data=(x, y), progress=False)
    assert snapshot(model) == snapshot(twin)
    assert got.loss.tolist() == want.loss.tolist()
    assert asked == ([1, 2, 3] if form == "function" else [])


def test_padded_batches_with_lengths():
    x, y = make("features", "linear")
    model, twin = build("lstm", "features", "linear"), build("lstm", "features", "linear")
    batch = padded(x, np.nan), padded(y, np.nan), LENGTHS
    model.fit(lambda epoch: [batch], epochs=2, progress=False)
    twin.fit(x, y, epochs=2, batch_size=9, shuffle=False, progress=False)
    close(model, twin)


def test_progress_of_batches_without_a_known_number(capsys):
    pytest.importorskip("tqdm", reason="progress bars are optional")
    x, y = echo()
    tagger().fit(lambda epoch: cut(x, y, 8), epochs=2)
    shown = capsys.readouterr().err
    for words in ("epoch 1/2", "epoch 2/2", "tok/s", "loss="):
        assert words in shown


X, Y = make()


@pytest.mark.parametrize(
    ("source", "options", "error", "words"),
    [
        (iter([(X, Y)]), {}, ValueError, "which gives its batches once, but epochs is 2: pass a function"),
        ((b for b in [(X, Y)]), {}, ValueError, "x is a generator, which gives its batches once"),
        (
            lambda epoch: [(X, Y)],
            {"y": Y},
            ValueError,
            r"x \(function\) gives batches, .* but y is given as well",
        ),
        (lambda epoch: [(X, Y)], {"lengths": LENGTHS}, ValueError, "but lengths is given as well"),
        (lambda epoch: [(X, Y)], {"bptt": 3}, ValueError, "but bptt is given as well"),
        (lambda epoch: [], {}, ValueError, "epoch 1 has no batches"),
        (lambda epoch: [(X, Y)] if epoch == 1 else [], {}, ValueError, "epoch 2 has no batches"),
        (lambda epoch: [X], {}, TypeError, r"batch 1 of epoch 1 is .*must be \(x, y\) or \(x, y, lengths\)"),
        (
            lambda epoch: [(X, Y), (X, Y[:-1])],
            {},
            ValueError,
            "batch 2 of epoch 1: x has 6 sequences, but y has 5",
        ),
        (lambda epoch: [([[9]], [[0]])], {}, ValueError, r"batch 1 of epoch 1: x\[0\] holds 9 at step 0"),
        (lambda epoch: [([[]], [[]])], {}, ValueError, "batch 1 of epoch 1: x holds 1 sequences, all empty"),
        ({"a": 1}, {}, TypeError, "x is of type dict"),
        ("abc", {}, TypeError, "x is of type str"),
    ],
)
def test_bad_batches(source, options, error, words):
    with pytest.raises(error, match=words):
        build().fit(source, **{"epochs": 2, "progress": False, **options})
