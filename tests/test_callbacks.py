# SPDX-License-Identifier: MIT
"""Callbacks, early stopping, and the history that they see."""

import sys

import fastrnn
import numpy as np
import pytest
from networks import build, echo, make, snapshot, tagger

SETTINGS = {"batch_size": 8, "seed": 4, "progress": False}


class Log(fastrnn.Callback):
    """All that happens."""

    def __init__(self):
        self.events = []

    def on_fit_begin(self, state):
        self.events.append(("begin", state.epoch, state.batch, state.updates))
        assert np.isnan(state.loss)
        assert len(state.history.loss) == 0

    def on_update_end(self, state):
        self.events.append(("update", state.epoch, state.batch, state.updates))

    def on_epoch_end(self, state):
        self.events.append(("epoch", state.epoch, state.epochs, state.updates))
        assert len(state.history.loss) == state.epoch
        assert state.loss == state.history.loss[-1]
        assert state.history.validation_loss is None

    def on_fit_end(self, state):
        self.events.append(("end", state.epoch, state.epochs, state.updates))


def test_what_callbacks_are_told():
    x, y = make()
    log = Log()
    model = build()
    model.fit(x, y, epochs=2, **{**SETTINGS, "batch_size": 2}, callbacks=[log])
    assert log.events == [
        ("begin", 1, 0, 0), ("update", 1, 1, 1), ("update", 1, 2, 2), ("update", 1, 3, 3), ("epoch", 1, 2, 3),
        ("update", 2, 1, 4), ("update", 2, 2, 5), ("update", 2, 3, 6), ("epoch", 2, 2, 6), ("end", 2, 2, 6),
    ]  # fmt: skip


def test_callbacks_change_nothing_and_see_the_model():
    x, y = echo()
    model, twin = tagger(), tagger()
    seen = []

    class Look(fastrnn.Callback):
        def on_epoch_end(self, state):
            seen.append((state.model is model, isinstance(state.optimizer, fastrnn.Adam), repr(state)))

    model.fit(x, y, epochs=2, **SETTINGS, callbacks=(Look(), Look()))
    twin.fit(x, y, epochs=2, **SETTINGS)
    assert snapshot(model) == snapshot(twin)
    assert seen[0][:2] == (True, True)
    assert seen[0][2].endswith(", epoch 1 of 2>")
    assert len(seen) == 4


@pytest.mark.parametrize("how", ["returns", "raises"])
@pytest.mark.parametrize("event", ["on_fit_begin", "on_update_end", "on_epoch_end"])
def test_stopping(event, how):
    x, y = echo()

    def stop(state):
        if event == "on_fit_begin" or state.updates >= 10:
            if how == "raises":
                raise fastrnn.StopTraining
            return True
        return 1  # which is not True

    callback, log = fastrnn.Callback(), Log()
    setattr(callback, event, stop)
    history = tagger().fit(x, y, epochs=5, **SETTINGS, callbacks=[callback, log])
    per_epoch = -(-sum(len(s) > 0 for s in x) // 8)
    updates = {"on_fit_begin": 0, "on_update_end": 10, "on_epoch_end": 2 * per_epoch}[event]
    assert len(history.loss) == updates // per_epoch
    assert log.events[-1][0] == "end"
    assert log.events[-1][3] == updates


def test_an_error_of_a_callback_reaches_the_caller():
    x, y = echo()
    callback = fastrnn.Callback()
    callback.on_epoch_end = lambda state: 1 / 0
    with pytest.raises(ZeroDivisionError):
        tagger().fit(x, y, epochs=5, **SETTINGS, callbacks=[callback])


def test_a_rate_set_by_a_callback_stays():
    x, y = echo()
    optimizer = fastrnn.SGD(0.5)
    callback = fastrnn.Callback()
    callback.on_epoch_end = lambda state: setattr(state.optimizer, "lr", state.optimizer.lr / 2)
    history = tagger().fit(x, y, epochs=3, optimizer=optimizer, **SETTINGS, callbacks=[callback])
    assert history.learning_rate.tolist() == [0.5, 0.25, 0.125]
    assert optimizer.lr == 0.0625


def test_a_rate_set_by_a_callback_is_in_the_checkpoint(tmp_path):
    pytest.importorskip("safetensors", reason="files need the extra io")
    x, y = echo()
    callback = fastrnn.Callback()

    def halve(state):
        state.optimizer.lr /= 2
        return state.epoch == 2 and stopping

    callback.on_epoch_end = halve
    options = {
        "epochs": 4,
        **SETTINGS,
        "checkpoint": tmp_path / "run",
        "resume": True,
        "callbacks": [callback],
    }
    for stopping in (True, False):  # noqa: B007
        optimizer = fastrnn.SGD(0.5)
        history = tagger().fit(x, y, optimizer=optimizer, **options)
    assert history.learning_rate.tolist() == [0.5, 0.25, 0.125, 0.0625]
    assert optimizer.lr == 0.03125


def test_the_state_of_a_callback_is_in_the_checkpoint(tmp_path):
    pytest.importorskip("safetensors", reason="files need the extra io")

    class Count(fastrnn.Callback):
        count = 0

        def on_epoch_end(self, state):
            self.count += 1
            return self.count == 2

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            self.count = state["count"]

    x, y = echo()
    options = {"epochs": 4, **SETTINGS, "checkpoint": tmp_path / "run", "resume": True}
    assert len(tagger().fit(x, y, **options, callbacks=[Count()]).loss) == 2
    second = Count()
    assert len(tagger().fit(x, y, **options, callbacks=[second]).loss) == 4
    assert second.count == 4


@pytest.mark.parametrize(
    ("values", "options", "best", "epochs"),
    [
        ([3, 2, 1], {}, 2, None),
        ([3, 2, 2, 2, 1], {}, 1, 4),
        ([3, 2, np.nan, np.nan], {}, 1, 4),
        ([np.nan, np.nan, 1], {}, -1, 2),
        ([3, 2.5, 2.0, 1.9, 1.8], {"min_delta": 0.6}, 2, 5),
        ([3, 2.5, 2.5, 2.4, 2.4], {"patience": 3}, 3, None),
        ([0.5, 0.6, 0.5, 0.4], {"monitor": "accuracy"}, 1, 4),
        ([0.5, 0.6, 0.7], {"monitor": "validation_accuracy"}, 2, None),
    ],
)
def test_when_it_stops(values, options, best, epochs):
    stopping = fastrnn.EarlyStopping(**{"patience": 2, **options})
    stops = [n for n in range(len(values) + 1) if stopping.stops(values[:n])]
    assert (stops[0] if stops else None) == epochs
    assert stopping.best(values[:epochs]) == best


@pytest.mark.parametrize("restore_best", [True, False])
def test_early_stopping(restore_best):
    """The loss of validation data with wrong labels rises while the model learns the right ones."""
    x, y = echo()
    wrong = x, [(tags + 1) % 4 for tags in y]
    kept = []

    class Keep(fastrnn.Callback):
        def on_epoch_end(self, state):
            kept.append(snapshot(state.model))

    model = tagger()
    history = model.fit(
        x, y, epochs=20, optimizer=fastrnn.Adam(0.02), validation_data=wrong, **SETTINGS, callbacks=[Keep()],
        early_stopping=fastrnn.EarlyStopping(3, restore_best=restore_best),
    )  # fmt: skip
    best = int(history.validation_loss.argmin())
    assert len(history.loss) == len(kept) == best + 4
    assert snapshot(model) == kept[best if restore_best else -1]


def test_the_best_is_restored_at_the_last_epoch_too():
    x, y = echo()
    wrong = x, [(tags + 1) % 4 for tags in y]
    model, twin = tagger(), tagger()
    options = {"optimizer": fastrnn.Adam(0.02), "validation_data": wrong, **SETTINGS}
    history = model.fit(x, y, epochs=5, early_stopping=fastrnn.EarlyStopping(9), **options)
    best = int(history.validation_loss.argmin())
    assert best < 4
    twin.fit(x, y, epochs=best + 1, **{**options, "optimizer": fastrnn.Adam(0.02)})
    assert snapshot(model) == snapshot(twin)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"callbacks": print}, TypeError, "callbacks is .* must be a list of Callback objects"),
        ({"callbacks": [print]}, TypeError, r"callbacks\[0\] is .* must be a fastrnn.Callback"),
        ({"early_stopping": 3}, TypeError, r"early_stopping is 3 .* fastrnn.EarlyStopping\(patience=3\)"),
        (
            {"early_stopping": fastrnn.EarlyStopping(3)},
            ValueError,
            "EarlyStopping has monitor='validation_loss', but there is no validation_data",
        ),
    ],
)
def test_bad_arguments(options, error, words):
    x, y = echo()
    model = tagger()
    before = snapshot(model)
    with pytest.raises(error, match=words):
        model.fit(x, y, epochs=1, **SETTINGS, **options)
    assert snapshot(model) == before


def test_linear_outputs_have_no_accuracy_to_look_at():
    x, y = make("features", "linear")
    with pytest.raises(
        ValueError, match="monitor='accuracy', but outputs of activation 'linear' have no accuracy"
    ):
        build("lstm", "features", "linear").fit(
            x, y, epochs=1, early_stopping=fastrnn.EarlyStopping(3, monitor="accuracy"), progress=False
        )


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"patience": 0}, ValueError, "patience is 0"),
        ({"patience": 1, "min_delta": -1}, ValueError, "min_delta is -1"),
        ({"patience": 1, "monitor": "f1"}, ValueError, "monitor is 'f1'"),
        ({"patience": 1, "restore_best": 1}, TypeError, "restore_best is 1"),
    ],
)
def test_bad_settings(arguments, error, words):
    with pytest.raises(error, match=words):
        fastrnn.EarlyStopping(**arguments)


def test_progress_goes_on_where_a_resumed_epoch_is(tmp_path, capsys):
    pytest.importorskip("tqdm", reason="progress bars are optional")
    pytest.importorskip("safetensors", reason="files need the extra io")
    x, y = echo()
    stop = fastrnn.Callback()
    stop.on_update_end = lambda state: state.updates == 5
    options = {**SETTINGS, "progress": True, "epochs": 1, "checkpoint": tmp_path / "run", "resume": True}
    tagger().fit(x, y, **options, callbacks=[stop])
    capsys.readouterr()
    stop.on_update_end = lambda state: None
    history = tagger().fit(x, y, **options, callbacks=[stop], accumulate=1)
    shown = capsys.readouterr().err
    steps = sum(map(len, x))
    assert f"{steps}/{steps}" in shown
    assert f"loss={history.loss[0]:.4f}" in shown
    assert "  0%" not in shown


def test_plot(tmp_path):
    pytest.importorskip("matplotlib", reason="plots need the extra plot")
    x, y = echo()
    history = tagger().fit(x, y, epochs=3, validation_data=(x, y), **SETTINGS)
    figure = history.plot(tmp_path / "history.png")
    loss, accuracy = figure.axes
    assert loss.get_ylabel() == "loss"
    assert accuracy.get_ylabel() == "accuracy"
    drawn = {line.get_label(): line.get_ydata().tolist() for axes in figure.axes for line in axes.lines}
    assert drawn == {
        "training loss": history.loss.tolist(),
        "validation loss": history.validation_loss.tolist(),
        "training accuracy": history.accuracy.tolist(),
        "validation accuracy": history.validation_accuracy.tolist(),
    }
    assert (tmp_path / "history.png").read_bytes()[:4] == b"\x89PNG"
    linear, targets = make("features", "linear")
    model = build("lstm", "features", "linear")
    assert len(model.fit(linear, targets, epochs=2, progress=False).plot().axes) == 1


def test_plot_without_matplotlib(monkeypatch):
    x, y = echo()
    history = tagger().fit(x, y, epochs=1, **SETTINGS)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install fastrnn\[plot\]"):
        history.plot()
