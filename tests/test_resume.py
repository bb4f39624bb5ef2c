# SPDX-License-Identifier: MIT
"""A run that is killed, interrupted or stopped, and resumed, is bit for bit the run that was not."""

import json
import os
import signal
import subprocess
import sys

import fastrnn
import numpy as np
import pytest
from networks import echo, snapshot, tagger

safetensors = pytest.importorskip("safetensors.numpy", reason="files need the extra io")

CURVES = ("loss", "accuracy", "validation_loss", "validation_accuracy", "gradient_norm", "learning_rate")
EPOCHS = 5

# What differs from run to run: name -> arguments of fit, by functions, as optimizers have states
RUNS = {
    "plain": dict,
    "sgd": lambda: {"optimizer": fastrnn.SGD(0.1), "shuffle": False},
    "momentum": lambda: {"optimizer": fastrnn.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01)},
    "adamw": lambda: {"optimizer": fastrnn.AdamW(0.01), "schedule": fastrnn.schedules.Step(2, 0.5)},
    "cosine": lambda: {"schedule": fastrnn.schedules.Cosine(60, warmup=5, per="update"), "accumulate": 3},
    "plateau": lambda: {"schedule": fastrnn.schedules.ReduceOnPlateau(0.5, patience=0, threshold=0.1)},
    "clip": lambda: {"clip": fastrnn.Clip(value=0.01, norm=0.05), "accumulate": 2},
    "stopping": lambda: {
        "optimizer": fastrnn.Adam(0.1),
        "early_stopping": fastrnn.EarlyStopping(1, min_delta=0.05, monitor="validation_accuracy"),
    },
    "bptt": lambda: {"bptt": 3, "optimizer": fastrnn.SGD(0.1, momentum=0.5)},
    "batches": lambda: {"x": batches, "y": None},
}


def batches(epoch):
    """The caller's own, in another order each epoch."""
    x, y = echo(90)
    full = [n for n in range(90) if len(x[n])]
    order = np.random.default_rng(epoch).permutation(full)
    for at in range(0, len(order), 9):
        yield [x[n] for n in order[at : at + 9]], [y[n] for n in order[at : at + 9]]


def train(name, **more):
    """A model of two layers with dropout, and its history."""
    x, y = echo(90)
    model = tagger("lstm", num_layers=2, dropout=0.3)
    given = {"x": x, "y": y, "epochs": EPOCHS, "batch_size": 8, "seed": 4, "progress": False}
    history = model.fit(**{**given, "validation_data": echo(20, seed=6), **RUNS[name](), **more})
    return model, history


def assert_same(got, want):
    assert snapshot(got[0]) == snapshot(want[0])
    for curve in CURVES:
        assert getattr(got[1], curve).tobytes() == getattr(want[1], curve).tobytes(), curve


class Kill(fastrnn.Callback):
    """Ends the process at an update as nothing can be caught that ends it."""

    def __init__(self, at):
        self.at = at

    def on_update_end(self, state):
        if state.updates == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def state_dict(self):
        return {}


class Resumed(Kill):
    def on_update_end(self, state):
        pass


Resumed.__name__ = "Kill"  # to the checkpoint the same callback


def killed(name, path, at, every):
    """Runs `train` in a process that is killed."""
    here = os.path.dirname(__file__)
    script = (
        f"import sys; sys.path.insert(0, {here!r})\n"
        f"import test_resume as t\n"
        f"t.train({name!r}, checkpoint={str(path)!r}, checkpoint_every={every!r}, callbacks=[t.Kill({at})])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=300)
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is of POSIX")
@pytest.mark.parametrize(
    ("name", "every"),
    [*((name, (7, "updates")) for name in RUNS), ("momentum", 1), ("cosine", 1), ("bptt", (1, "updates"))],
    ids=str,
)
def test_killed_and_resumed(name, every, tmp_path):
    path = tmp_path / "run.safetensors"
    want = train(name)
    killed(name, path, 45 if name == "bptt" else 17, every)  # of more updates in an epoch
    assert os.listdir(tmp_path) == [path.name]
    got = train(name, checkpoint=path, checkpoint_every=every, callbacks=[Resumed(0)], resume=True)
    assert_same(got, want)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is of POSIX")
def test_killed_while_a_checkpoint_is_written(tmp_path):
    """The one before is whole."""
    path = tmp_path / "run.safetensors"
    here = os.path.dirname(__file__)
    script = (
        f"import os, signal, sys; sys.path.insert(0, {here!r})\n"
        f"import test_resume as t\n"
        f"calls, fsync = [], os.fsync\n"
        f"def kill(descriptor):\n"
        f"    calls.append(fsync(descriptor))\n"
        f"    len(calls) == 3 and os.kill(os.getpid(), signal.SIGKILL)\n"
        f"os.fsync = kill\n"
        f"t.train('plain', checkpoint={str(path)!r})"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=300)
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()
    assert len(os.listdir(tmp_path)) == 2, "the third is beside it"
    steps = []

    class Watch(fastrnn.Callback):
        def on_fit_begin(self, state):
            steps.append(state.epoch)

    with pytest.raises(ValueError, match=r"fit has callbacks=\[\], but this one \['Watch'\]"):
        train("plain", checkpoint=path, resume=True, callbacks=[Watch()])
    assert_same(train("plain", checkpoint=path, resume=True), train("plain"))


@pytest.mark.parametrize("name", RUNS)
def test_every_checkpoint_of_a_run_leads_to_its_end(name, tmp_path):
    """Each file that a run has written at some time."""
    path = tmp_path / "run.safetensors"

    class Keep(fastrnn.Callback):
        def on_update_end(self, state):
            if state.updates > 1:
                path.rename(tmp_path / f"{state.updates - 1}")

    want = train(name, checkpoint=path, checkpoint_every=(1, "updates"), callbacks=[Keep()])
    Keep.on_update_end = lambda self, state: None
    files = sorted(os.listdir(tmp_path))
    assert len(files) > 10
    for file in files[:: len(files) // 8]:
        assert_same(train(name, resume=tmp_path / file, callbacks=[Keep()]), want)


def interrupt(monkeypatch, where, at):
    """The call number `at` of a function raises KeyboardInterrupt after it has done its work."""
    owner, name = where
    inner, calls = getattr(owner, name), []

    def wrapped(*arguments, **options):
        result = inner(*arguments, **options)
        calls.append(1)
        if len(calls) == at:
            signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(owner, name, wrapped)


@pytest.mark.parametrize(
    ("where", "at"),
    [
        ((fastrnn.topologies.NToN, "learn"), 20),
        ((fastrnn.optim.Adam, "_update_one"), 41),
        ((fastrnn.training, "evaluate"), 2),
        ((fastrnn.batching.SequencePairs, "batch"), 16),
        ((fastrnn.place.Place, "next_epoch"), 2),
        ((fastrnn.io, "write"), 2),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else str(value),
)
def test_interrupted_anywhere_and_resumed(monkeypatch, where, at, tmp_path):
    """Ctrl-C writes a checkpoint of whole updates, though masks of a batch were drawn that was not learned."""
    path = tmp_path / "run.safetensors"
    want = train("plain")
    interrupt(monkeypatch, where, at)
    with pytest.raises(KeyboardInterrupt) as caught:
        train("plain", checkpoint=path)
    monkeypatch.undo()
    assert f"and so does the checkpoint {path}: resume=True goes on from there" in str(caught.value)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert_same(train("plain", checkpoint=path, resume=True), want)


def test_an_interrupted_fit_without_checkpoint_says_what_there_is(monkeypatch):
    interrupt(monkeypatch, (fastrnn.topologies.NToN, "learn"), 20)
    with pytest.raises(
        KeyboardInterrupt,
        match=r"^fit was interrupted in epoch 2 of 5 after \d+ batches; the model holds its 19 updates",
    ):
        train("plain")


def test_a_handler_of_the_callers_stays(monkeypatch):
    came = []
    monkeypatch.setattr(signal, "raise_signal", signal.raise_signal)
    before = signal.signal(signal.SIGINT, lambda *_: came.append(1))
    try:
        interrupt(monkeypatch, (fastrnn.topologies.NToN, "learn"), 20)
        train("plain")
    finally:
        signal.signal(signal.SIGINT, before)
    assert came == [1]


@pytest.mark.parametrize("name", ["plain", "bptt", "batches"])
def test_resumed_again_and_again_within_an_epoch(name, tmp_path):
    class Stop(fastrnn.Callback):
        def on_update_end(self, state):
            return state.updates in (13, 14, 16)

    options = {"checkpoint": tmp_path / "run", "callbacks": [Stop()], "resume": True}
    for count in (1, 1, 1, EPOCHS):
        _, history = got = train(name, **options)
        assert len(history.loss) in (0, 1) if count == 1 else len(history.loss) == EPOCHS
    assert_same(got, train(name))


def test_more_epochs_than_before(tmp_path):
    path = tmp_path / "run.safetensors"
    train("momentum", epochs=2, checkpoint=path)
    assert_same(train("momentum", checkpoint=path, resume=True), train("momentum"))
    again = train("momentum", checkpoint=path, resume=True)
    assert_same(again, train("momentum"))
    with pytest.raises(ValueError, match=r"run.safetensors has 5 epochs begun, but epochs is 2"):
        train("momentum", epochs=2, checkpoint=path, resume=True)


def test_a_checkpoint_is_a_model(tmp_path):
    path = tmp_path / "run.safetensors"
    model, _ = train("momentum", checkpoint=path)
    assert snapshot(fastrnn.load(path)) == snapshot(model)


def test_resume_true_begins_where_there_is_no_file(tmp_path):
    path = tmp_path / "run.safetensors"
    assert_same(train("plain", checkpoint=path, resume=True), train("plain"))
    with pytest.raises(FileNotFoundError):
        train("plain", resume=tmp_path / "other")


@pytest.mark.parametrize("seed", [None, 5])
def test_a_run_without_seed_goes_on_with_its_own(seed, tmp_path, monkeypatch):
    """What was drawn stays drawn: order of batches and masks."""
    path = tmp_path / "run.safetensors"
    orders = []
    bucket = fastrnn.feeds.bucket

    def watched(lengths, batch_size, rng):
        found = bucket(lengths, batch_size, rng)
        orders.append([index.tolist() for index in found])
        return found

    monkeypatch.setattr(fastrnn.feeds, "bucket", watched)
    options = {"seed": seed, "checkpoint": path, "checkpoint_every": (5, "updates")}

    class Stop(fastrnn.Callback):
        def on_update_end(self, state):
            return state.updates == 17

    train("plain", **options, callbacks=[Stop()])
    first = list(orders)
    Stop.on_update_end = lambda self, state: None
    train("plain", **options, callbacks=[Stop()], resume=True)
    assert orders[len(first)] == first[-1], "the epoch that was cut is in the order it had"
    assert len({str(order) for order in orders}) == EPOCHS


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimizer": fastrnn.Adam(0.01)}, r"its optimizer has lr=0.001, but this one 0.01"),
        ({"optimizer": fastrnn.AdamW(0.001)}, r"its optimizer has class='Adam', but this one 'AdamW'"),
        ({"batch_size": 9}, r"its data has batch_size=8, but this one 9"),
        ({"shuffle": False}, r"its data has shuffle=True, but this one False"),
        ({"seed": 5}, r"its data has seed=4, but this one 5"),
        ({"x": echo(91)[0], "y": echo(91)[1]}, r"its data has sequences=90, but this one 91"),
        (
            {"x": echo(90)[0][::-1], "y": echo(90)[1][::-1]},
            r"its data has checksum of lengths=\d+, but this one \d+",
        ),
        ({"bptt": 4}, r"its data has bptt=none, but this one 4"),
        ({"x": batches, "y": None}, r"its data has batches=none, but this one"),
        ({"clip": fastrnn.Clip(norm=1.0)}, r"its fit has clip=None, but this one 'Clip\(norm=1.0\)'"),
        ({"accumulate": 2}, r"its fit has accumulate=1, but this one 2"),
        (
            {"schedule": fastrnn.schedules.Step(3)},
            r"its fit has schedule=None, but this one .Step\(step_size=3",
        ),
        ({"validation_data": None}, r"its fit has validation=True, but this one False"),
        ({"callbacks": [fastrnn.Callback()]}, r"its fit has callbacks=\[\], but this one \['Callback'\]"),
    ],
)
def test_a_checkpoint_of_another_run(options, words, tmp_path):
    path = tmp_path / "run.safetensors"
    train("plain", epochs=1, checkpoint=path)
    with pytest.raises(ValueError, match=words) as caught:
        train("plain", checkpoint=path, resume=True, **options)
    assert str(path) in str(caught.value)


def test_a_checkpoint_of_another_model(tmp_path):
    path = tmp_path / "run.safetensors"
    x, y = echo(90)
    train("plain", epochs=1, checkpoint=path)
    other = tagger("lstm", num_layers=3, dropout=0.3)
    before = snapshot(other)
    with pytest.raises(ValueError, match="its model has num_layers=2, but this one 3"):
        other.fit(x, y, epochs=2, resume=path, progress=False)
    assert snapshot(other) == before
    used = fastrnn.Adam()
    other.fit(x, y, epochs=1, optimizer=used, progress=False)
    with pytest.raises(ValueError, match=r"^this optimizer holds .* an optimizer of its own"):
        train("plain", resume=path, optimizer=used)


DAMAGES = [
    *(
        (("place", name), value)
        for name in ("epoch", "batch", "updates", "epoch_updates")
        for value in ("x", -1, None)
    ),
    *(
        (("place", "total", name), value)
        for name in ("loss", "weight", "count", "steps")
        for value in (None, [], {})
    ),
    *(
        (("place", "records", 0, "training", name), value)
        for name in ("loss", "steps")
        for value in ("x", {})
    ),
    (("place", "records", 0, "gradient_norm"), {}),
    (("place", "masks", "rnn", "uinteger"), 2**70),
    *((("optimizer", "steps"), value) for value in (-1, 2**70, 1.5, None)),
]


def damaged(text, place, value):
    """The JSON of a checkpoint with another value in one place."""
    training = json.loads(text)
    at = training
    for step in place[:-1]:
        at = at[step]
    assert place[-1] in at
    at[place[-1]] = value
    return json.dumps(training)


def test_files_that_are_no_checkpoints(tmp_path):
    path = tmp_path / "run.safetensors"
    model, _ = train("plain", epochs=1, checkpoint=path)
    plain = tmp_path / "model.safetensors"
    model.save(plain)
    with pytest.raises(ValueError, match=r"holds no checkpoint of training: its metadata have \['fastrnn'\]"):
        train("plain", resume=plain)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="is no whole safetensors file"):
        train("plain", resume=path)
    path.write_bytes(whole)
    with safetensors.safe_open(path, "np") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for text, words in (
        ("{", "is no JSON of ours"),
        ("[]", "is no JSON of ours"),
        (metadata["fastrnn.training"].replace('{"format": 1', '{"format": 9'), "has format 9"),
        (metadata["fastrnn.training"].replace('"batch":', '"butch":'), "does not say how far"),
        (metadata["fastrnn.training"].replace('"norms":', '"forms":'), "is damaged"),
        *((damaged(metadata["fastrnn.training"], place, value), "is damaged") for place, value in DAMAGES),
    ):
        safetensors.save_file(tensors, path, {**metadata, "fastrnn.training": text})
        with pytest.raises(ValueError, match=words):
            train("plain", resume=path)
    for name in ("training.optimizer.m.rnn", "rnn.bias_hh_l0"):
        fewer = {key: tensor for key, tensor in tensors.items() if key != name}
        safetensors.save_file(fewer, path, metadata)
        x, y = echo(90)
        other = tagger("lstm", num_layers=2, dropout=0.3, seed=9)
        before = snapshot(other)
        with pytest.raises(ValueError, match="is damaged"):
            other.fit(
                x, y, epochs=1, batch_size=8, seed=4, validation_data=(x, y), resume=path, progress=False
            )
        assert snapshot(other) == before


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"resume": True}, ValueError, "resume is True, but checkpoint is None"),
        ({"resume": 3}, TypeError, "path is 3"),
        ({"checkpoint": 3}, TypeError, "path is 3"),
        ({"checkpoint_every": 0}, ValueError, "checkpoint_every is 0"),
        (
            {"checkpoint_every": (1, "batches")},
            ValueError,
            "unit is 'batches', but must be one of 'epochs', 'updates'",
        ),
        ({"checkpoint_every": (1,)}, ValueError, r"checkpoint_every is \(1,\)"),
        ({"checkpoint_every": "2"}, TypeError, "checkpoint_every is '2'"),
    ],
)
def test_bad_arguments(options, error, words):
    with pytest.raises(error, match=words):
        train("plain", **options)


def test_without_safetensors_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install fastrnn\[io\]"):
        train("plain", checkpoint=tmp_path / "run.safetensors")


def test_a_place_where_no_file_can_stand_is_refused_before_the_first_update(tmp_path):
    x, y = echo()
    model = tagger()
    before = snapshot(model)
    nowhere = tmp_path / "nowhere" / "run.safetensors"
    for place, error in ((nowhere, FileNotFoundError), (tmp_path, IsADirectoryError)):
        with pytest.raises(error, match=rf"^checkpoint is '{place}'"):
            model.fit(x, y, epochs=1, checkpoint=place, progress=False)
    assert snapshot(model) == before
