# SPDX-License-Identifier: MIT
"""What fit offers, it offers every topology: accumulated gradients, batches of one's own, resumed runs."""

import fastrnn
import numpy as np
import pytest
from networks import snapshot

COUNT, VOCABULARY, K = 24, 7, 4
IDS = fastrnn.Embedding(VOCABULARY, 5)


def data(kind):
    """Sorted by what batches are sorted by, so that batches side by side are one larger batch."""
    rng = np.random.default_rng(5)
    lengths = np.sort(rng.integers(1, 9, COUNT))
    x = [rng.integers(0, VOCABULARY, n) for n in lengths]
    y = {
        "NToN": [rng.integers(0, K, n) for n in lengths],
        "NToOne": rng.integers(0, K, COUNT),
        "OneToN": [rng.integers(0, K, n) for n in lengths],
        "NToM": [rng.integers(1, K, n + 1) for n in lengths],
    }[kind]
    return (rng.standard_normal((COUNT, 3)) if kind == "OneToN" else x), y


FORMS = {
    "NToN": ("NToN", {"num_layers": 2, "dropout": 0.3}),
    "NToN tied": ("NToN", {"tie": True, "hidden": 5, "outputs": VOCABULARY}),
    "NToOne": ("NToOne", {"pool": "learned", "num_layers": 2, "dropout": 0.3}),
    "OneToN": ("OneToN", {"inputs": 3, "feed": "every", "feedback": True, "input_dropout": 0.2}),
    "NToM": ("NToM", {"context": "sequence", "context_to": "both", "end": 0, "input_dropout": 0.2}),
}


@pytest.fixture(params=FORMS)
def form(request):
    kind, options = FORMS[request.param]

    def build(**more):
        given = {"inputs": IDS, "hidden": 6, "outputs": K, "dtype": "float64", "seed": 1, **options, **more}
        return getattr(fastrnn, kind)("lstm", **given)

    return build, *data(kind)


def without_dropout(build):
    return build(**{name: 0.0 for name in ("dropout", "input_dropout") if name in build().arguments})


def test_batches_of_one_update_are_one_batch(form):
    build, x, y = form
    model, twin = without_dropout(build), without_dropout(build)
    options = {"epochs": 2, "clip": fastrnn.Clip(norm=0.1), "shuffle": False, "progress": False}
    got = model.fit(x, y, batch_size=4, accumulate=3, optimizer=fastrnn.SGD(0.5, momentum=0.9), **options)
    want = twin.fit(x, y, batch_size=12, optimizer=fastrnn.SGD(0.5, momentum=0.9), **options)
    for name, array in twin.parameters().items():
        np.testing.assert_allclose(model.parameters()[name], array, rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.loss, want.loss, rtol=1e-12)
    np.testing.assert_allclose(got.gradient_norm, want.gradient_norm, rtol=1e-10)


def test_a_resumed_run_has_the_bits_of_one_that_was_not(form, tmp_path):
    pytest.importorskip("safetensors", reason="files need the extra io")
    build, x, y = form

    class Stop(fastrnn.Callback):
        at = 8

        def on_update_end(self, state):
            return state.updates == self.at

    stop = Stop()
    options = {
        "epochs": 3, "batch_size": 4, "seed": 3, "progress": False, "callbacks": [stop], "validation_data": (x, y),
        "checkpoint": tmp_path / "run", "schedule": fastrnn.schedules.Cosine(15, 3, per="update"),
        "early_stopping": fastrnn.EarlyStopping(2),
    }  # fmt: skip
    cut = build()
    cut.fit(x, y, optimizer=fastrnn.RMSprop(0.01, centered=True, momentum=0.9, eps=1e-3), **options)
    assert repr(fastrnn.load(tmp_path / "run")) == repr(cut)
    stop.at = None
    runs = []
    for resume in (True, False):
        model = build()
        history = model.fit(
            x,
            y,
            resume=resume,
            optimizer=fastrnn.RMSprop(0.01, centered=True, momentum=0.9, eps=1e-3),
            **options,
        )
        runs.append((snapshot(model), history.loss.tobytes(), history.validation_loss.tobytes()))
    assert runs[0] == runs[1]
    assert len(history.loss) == 3


def test_batches_of_the_callers_own(form):
    build, x, y = form
    model, twin = build(), build()
    options = {"epochs": 2, "seed": 3, "progress": False}
    model.fit(lambda epoch: ((x[at : at + 8], y[at : at + 8]) for at in range(0, COUNT, 8)), **options)
    twin.fit(x, y, batch_size=8, shuffle=False, **options)
    assert snapshot(model) == snapshot(twin)


def test_windows_are_of_streams_alone(form):
    build, x, y = form
    model = build()
    if isinstance(model, fastrnn.NToN):
        model.fit(x, y, epochs=1, bptt=3, progress=False)
        return
    before = snapshot(model)
    with pytest.raises(
        ValueError, match=f"an output at each step, but this model is a {type(model).__name__}"
    ):
        model.fit(x, y, epochs=1, bptt=3, progress=False)
    assert snapshot(model) == before
