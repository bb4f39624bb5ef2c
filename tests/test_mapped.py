# SPDX-License-Identifier: MIT
"""Memory-mapped arrays stay in their files, and give the same bits as arrays in memory."""

import tracemalloc

import fastrnn
import numpy as np
import pytest
from fastrnn.batching import sequences
from networks import FEATURES, VOCABULARY, K, build, snapshot

N, T = 40, 6
LENGTHS = np.random.default_rng(1).integers(0, T + 1, N)


def arrays(inputs, activation):
    rng = np.random.default_rng(3)
    x = rng.integers(0, VOCABULARY, (N, T)) if inputs == "ids" else rng.standard_normal((N, T, FEATURES))
    y = rng.integers(0, K, (N, T)) if activation == "softmax" else rng.uniform(0, 1, (N, T, K))
    return x, y


@pytest.fixture
def mapped(tmp_path):
    def make(array):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")

    return make


@pytest.mark.parametrize(
    ("inputs", "activation"), [("ids", "softmax"), ("features", "sigmoid"), ("features", "linear")]
)
@pytest.mark.parametrize(("ints", "floats"), [("i8", "f8"), ("i4", "f4"), ("u1", "f2")])
def test_same_bits(mapped, inputs, activation, ints, floats):
    x, y = (a.astype(ints if a.dtype.kind == "i" else floats) for a in arrays(inputs, activation))
    model, twin = build("lstm", inputs, activation), build("lstm", inputs, activation)
    options = {"epochs": 2, "batch_size": 7, "lengths": LENGTHS, "seed": 3, "progress": False}
    got = model.fit(mapped(x), mapped(y), **options)
    want = twin.fit(x, y, **options)
    assert snapshot(model) == snapshot(twin)
    assert got.loss.tolist() == want.loss.tolist()
    assert model.predict(mapped(x), lengths=LENGTHS).tobytes() == twin.predict(x, lengths=LENGTHS).tobytes()
    assert model.evaluate(mapped(x), mapped(y)) == twin.evaluate(x, y)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_nothing_is_copied_but_batches(mapped, dtype):
    x = mapped(np.ones((2000, 50, 20), dtype))
    found = sequences("x", x, (20,), "f4")
    assert np.shares_memory(found.values, x)
    assert found.take(np.array([[3, 4]])).dtype == np.float32
    y = mapped(np.zeros((2000, 50), np.int32))
    model = fastrnn.NToN("gru", 20, 4, 2, seed=0)
    tracemalloc.start()
    try:
        model.fit(x, y, epochs=1, batch_size=10, progress=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < x.nbytes / 3


def test_a_view_of_a_map_that_is_not_dense_is_read(mapped):
    x, y = arrays("features", "linear")
    model, twin = build("lstm", "features", "linear"), build("lstm", "features", "linear")
    options = {"epochs": 1, "seed": 3, "progress": False}
    model.fit(mapped(x)[:, ::2], mapped(y)[:, ::2], **options)
    twin.fit(x[:, ::2], y[:, ::2], **options)
    assert snapshot(model) == snapshot(twin)


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (1e300, "inf")])
def test_bad_values_in_a_later_piece(mapped, value, shown, monkeypatch):
    monkeypatch.setattr(fastrnn._check.models, "_PIECE", 8)
    x, y = arrays("features", "linear")
    x[31, 2, 1] = value
    model = build("lstm", "features", "linear", dtype="float32")
    for given in (x, mapped(x)):
        with pytest.raises(ValueError, match=rf"x\[31\] holds {shown} at step 2, but .* finite as float32"):
            model.fit(given, mapped(y), epochs=1, progress=False)
        lengths = np.full(N, T)
        lengths[31] = 2
        assert np.isfinite(model.predict(given, lengths=lengths)).all()
