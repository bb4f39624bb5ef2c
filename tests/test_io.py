# SPDX-License-Identifier: MIT
"""Files: what is saved is loaded bit for bit, and whatever else a file may be is one clear error."""

import json
import os
import pickle
import subprocess
import sys

import fastrnn
import numpy as np
import pytest

safetensors = pytest.importorskip("safetensors.numpy", reason="files need the extra io")


def build(**options):
    options = {"bidirectional": True, "seed": 3, **options}
    return fastrnn.NToN("gru", fastrnn.Embedding(6, 4), 5, 3, **options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def form(**changes):
    arguments = {**build().arguments, "inputs": {"vocabulary": 6, "size": 4}, **changes.pop("arguments", {})}
    return {"format": 1, "class": "NToN", "arguments": arguments, **changes}


def write(path, tensors=None, text=None, **changes):
    """A file as `save` writes it, with something changed."""
    text = json.dumps(form(**changes)) if text is None else text
    safetensors.save_file(build().state_dict() if tensors is None else tensors, path, {"fastrnn": text})


def refused(path, words):
    """load raises one ValueError that names the file and, as a regular expression, holds the words."""
    with pytest.raises(ValueError, match=words) as caught:
        fastrnn.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "model",
    [
        build(),
        build(dtype="float64", num_layers=2),
        fastrnn.NToN("lstm", np.int64(7), 5, 3, activation="sigmoid", seed=1),
        fastrnn.NToN("rnn_relu", 7, np.int32(5), 1, activation="linear", dtype=np.float64, seed=1),
    ],
    ids=repr,
)
def test_round_trip_is_exact(model, path):
    for array in model.parameters().values():
        array.flat[0] = [np.nan, -0.0, np.inf, 5e-42][array.size % 4]
    model.save(path)
    again = fastrnn.load(path)
    assert repr(again) == repr(model)
    assert again.parameters().keys() == model.parameters().keys()
    for name, array in model.parameters().items():
        other = again.parameters()[name]
        assert other.dtype == array.dtype
        assert other.tobytes() == array.tobytes(), name


@pytest.mark.parametrize("cell", fastrnn.layers.CELLS)
@pytest.mark.parametrize("sizes", [(1, 100, 3), (1, 10, 1000)])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_models_of_every_cell_and_proportion_are_loaded(cell, sizes, num_layers, path):
    """Some cells have fewer weights than others: what a file must hold at least is true of all."""
    model = fastrnn.NToN(cell, *sizes, num_layers=num_layers, seed=1)
    model.save(path)
    again = fastrnn.load(path).state_dict()
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(again[name], array)


def test_a_loaded_model_predicts_and_trains(path):
    model = build()
    x, y = [[1, 2, 3], [5]], [[0, 1, 2], [2]]
    model.save(str(path))
    again = fastrnn.load(str(path))
    for got, want in zip(again.predict_proba(x), model.predict_proba(x)):
        assert got.tobytes() == want.tobytes()
    for each in (model, again):
        each.fit(x, y, epochs=2, shuffle=False, progress=False)
    for name, array in model.parameters().items():
        assert again.parameters()[name].tobytes() == array.tobytes()


def test_every_truncation_is_an_error(path):
    build().save(path)
    whole = path.read_bytes()
    cut = path.with_name("cut.safetensors")
    header = 8 + int.from_bytes(whole[:8], "little")
    counts = {0, 1, 7, 8, 9, header - 1, header, header + 1, len(whole) - 1, *range(0, len(whole), 37)}
    for count in sorted(counts):
        cut.write_bytes(whole[:count])
        refused(cut, "is no whole safetensors file")
    cut.write_bytes(whole + b"\0")
    refused(cut, "is no whole safetensors file")


def test_every_flipped_byte_of_the_header_is_an_error_or_the_same_model(path):
    """Numbers in a damaged header must not make a crash or another model."""
    model = build()
    model.save(path)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    bad = path.with_name("bad.safetensors")
    for at in range(0, header, 3):
        bad.write_bytes(whole[:at] + bytes([whole[at] ^ 0x15]) + whole[at + 1 :])
        try:
            again = fastrnn.load(bad)
        except ValueError as error:
            assert str(bad) in str(error)  # noqa: PT017
        else:
            assert again.parameters().keys() == model.parameters().keys()


class Trap:
    """Unpickling this makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_pickle_is_refused_and_never_executed(path, tmp_path):
    marker = tmp_path / "executed"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(Trap(marker), protocol))
        refused(path, "is no whole safetensors file")
    assert not marker.exists()
    pickle.loads(path.read_bytes())
    assert marker.exists(), "the trap is none"


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x03\x04" + bytes(60), b"\x89HDF\r\n\x1a\n" + bytes(99)]
)
def test_foreign_files(content, path):
    path.write_bytes(content)
    refused(path, "is no whole safetensors file")


def test_foreign_safetensors(path):
    tensors = {"weight": np.zeros(3, np.float32)}
    safetensors.save_file(tensors, path)
    refused(path, r"holds no model: its metadata have \[\], but not 'fastrnn'")
    safetensors.save_file(tensors, path, {"format": "pt"})
    refused(path, r"its metadata have \['format'\]")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "has format 2, but this version of fastrnn reads format 1"),
        ({"format": None}, "has format None"),
        ({"format": True}, "has format True"),
        ({"class": "NToX"}, r"class 'NToX', but this version knows .*'NToN'"),
        ({"class": ["NToN"]}, "names no class and arguments"),
        ({"arguments": {"hidden": 6}}, r"does not fit the NToN it describes: .*has shape"),
        ({"arguments": {"outputs": 4}}, r"readout.weight has shape \(3, 10\), but NToN\(.*\) has \(4, 10\)"),
        ({"arguments": {"cell": "lstm"}}, r"rnn.weight_ih_l0 has shape \(15, 4\), but .* \(20, 4\)"),
        ({"arguments": {"num_layers": 2}}, "lacks rnn.bias_hh_l1"),
        ({"arguments": {"inputs": 4}}, "unknown embedding.weight"),
        ({"arguments": {"bidirectional": False}}, "unknown rnn.bias_hh_l0_reverse"),
        ({"arguments": {"dtype": "float64"}}, "is stored as float32, but the model has float64"),
        (
            {"arguments": {"hidden": 10**6}},
            r"there are \d+ numbers stored, but the model has at least \d{13}",
        ),
        ({"arguments": {"hidden": 10**30}}, r"at least \d{61}"),
        ({"arguments": {"inputs": {"vocabulary": 10**12, "size": 4}}}, r"at least 4\d{12}"),
        ({"arguments": {"hidden": "5"}}, "does not fit the NToN"),
        ({"arguments": {"hidden": -5}}, "does not fit the NToN"),
        ({"arguments": {"hidden": 5.5}}, "hidden is 5.5"),
        ({"arguments": {"hidden": None}}, "does not fit the NToN"),
        ({"arguments": {"activation": "relu"}}, "activation is 'relu'"),
        ({"arguments": {"colour": 3}}, "colour"),
        ({"arguments": {"seed": 1}}, "seed"),
        ({"arguments": {"dtype": "no"}}, "dtype is 'no'"),
        ({"arguments": {"inputs": {"vocabulary": -6, "size": 4}}}, "vocabulary is -6"),
    ],
)
def test_other_descriptions(changes, words, path):
    write(path, **changes)
    refused(path, words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "what describes the model is no JSON"),
        ("{", "what describes the model is no JSON"),
        ("[" * 10**5, "what describes the model is no JSON"),
        ("[]", "has format None"),
        ("3", "has format None"),
        ('{"format": 1}', "names no class and arguments"),
        ('{"format": 1, "class": "NToN", "arguments": []}', "names no class and arguments"),
        ('{"format": 1, "class": "NToN", "arguments": {}}', "does not fit the NToN"),
    ],
)
def test_damaged_descriptions(text, words, path):
    write(path, text=text)
    refused(path, words)


def test_other_tensors(path):
    tensors = build().state_dict()
    missing = {name: array for name, array in tensors.items() if name != "readout.bias"}
    write(path, missing)
    refused(path, "lacks readout.bias")
    write(path, {**tensors, "readout.scale": np.zeros(1, np.float32)})
    refused(path, "unknown readout.scale")
    write(path, {**tensors, "readout.bias": np.zeros(4, np.float32)})
    refused(path, r"readout.bias has shape \(4,\), but NToN.* has \(3,\)")
    write(path, {**tensors, "readout.bias": np.zeros(3, np.int32)})
    refused(path, "readout.bias is stored as int32, but the model has float32")


def test_files_that_cannot_be_read(path, tmp_path):
    with pytest.raises(FileNotFoundError):
        fastrnn.load(path)
    with pytest.raises(IsADirectoryError):
        fastrnn.load(tmp_path)
    for wrong in (3, None, [str(path)]):
        with pytest.raises(TypeError, match="path"):
            fastrnn.load(wrong)
        with pytest.raises(TypeError, match="path"):
            build().save(wrong)


def test_saving_is_whole_or_not_at_all(path, monkeypatch):
    build(seed=1).save(path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        build(seed=2).save(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
    monkeypatch.undo()
    build(seed=2).save(path)
    assert path.read_bytes() != before
    assert os.listdir(path.parent) == [path.name]


def test_nobody_sees_half_a_file(path, monkeypatch):
    """Up to the moment when it is moved into place, the old file stands there."""
    build(seed=1).save(path)
    before, seen = path.read_bytes(), []
    replace = os.replace

    def watched(source, target):
        seen.append(path.read_bytes() == before)
        assert os.path.dirname(source) == str(path.parent), "another disk could not move it at once"
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    build(seed=2).save(path)
    assert seen == [True]


def test_saving_into_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        build().save(tmp_path / "none" / "model.safetensors")


@pytest.mark.skipif(os.name != "posix", reason="permission bits are those of POSIX")
def test_a_file_has_the_permissions_of_any_new_file(path):
    ordinary = path.with_name("ordinary")
    ordinary.touch()
    build().save(path)
    assert path.stat().st_mode == ordinary.stat().st_mode


def test_without_safetensors_the_message_says_what_to_install(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install fastrnn\[io\]"):
        build().save(path)
    with pytest.raises(ImportError, match=r"pip install fastrnn\[io\]"):
        fastrnn.load(path)
    assert not path.exists()


def test_optional_packages_are_imported_when_used():
    code = "import sys, fastrnn; print([m for m in ('safetensors', 'tqdm', 'torch') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
