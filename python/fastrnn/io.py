# SPDX-License-Identifier: MIT
"""Models in files: safetensors, with the model's form as JSON in the metadata.

    metadata["fastrnn"] = {"format": 1, "class": "NToN", "arguments": {...}}        tensors: the state_dict

A checkpoint of training (checkpoint.py) is such a file with more in it, under names that begin with "training.".

A file is data: its class is looked up in a table, its arguments pass the constructor's checks, and nothing in it is
executed. It is written beside its place and moved there, so that nobody, not even after a crash, sees half of one.
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy.typing as npt

from . import _check
from .embedding import Embedding
from .losses import BinaryCrossEntropy, CrossEntropy
from .topologies import MODELS, Model

FORMAT = 1
TRAINING = "training."  # what the names of tensors begin with that are no parameters
_KEY = "fastrnn"
_PLAIN = (Embedding, CrossEntropy, BinaryCrossEntropy)  # arguments that a file holds as their fields by name


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """See `Model.save`."""
    write(path, model.state_dict(), describe(model))


def describe(model: Model) -> dict[str, str]:
    """Metadata that tell what model a file holds."""
    form = {"format": FORMAT, "class": type(model).__name__, "arguments": model.arguments}
    return {_KEY: json.dumps(form, default=_plain)}


def write(
    path: str | os.PathLike[str], tensors: Mapping[str, npt.NDArray[Any]], metadata: dict[str, str]
) -> None:
    """Writes a safetensors file, which appears whole or not at all."""
    place = Path(_check.path(path))
    content: bytes = _safetensors("numpy").save(dict(tensors), metadata)
    _write_whole(place, content)


def load(path: str | os.PathLike[str]) -> Model:
    """The model that `Model.save` wrote to a file, or that a checkpoint of `fit` holds, as its last update left it.

    Raises:
        ImportError: safetensors is not installed (pip install fastrnn[io]).
        OSError: the file cannot be read.
        ValueError: the file is damaged, or holds no model, or one of another version, or its tensors do not
            fit the model it describes. Nothing from the file is executed.

    >>> model = load("tagger.safetensors")  # doctest: +SKIP
    """
    path = _check.path(path)
    metadata, stored = read(path)
    tensors = {name: tensor for name, tensor in stored.items() if not name.startswith(TRAINING)}
    name, arguments = _form(path, metadata)
    if name not in MODELS:
        raise ValueError(f"{path} holds a model of class {name!r}, but this version knows {sorted(MODELS)}")
    try:
        make: Callable[..., Model] = MODELS[name]
        dtype, _ = _check.layer_dtype(arguments["dtype"])
        _check.stored_tensors(tensors, dtype, MODELS[name].least_parameters(arguments))
        model = make(**arguments, seed=0)
        model.load_state_dict(tensors)
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{path} does not fit the {name} it describes: {error}") from None
    return model


def _form(path: str, metadata: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Class and arguments that the metadata describe."""
    if _KEY not in metadata:
        raise ValueError(f"{path} holds no model: its metadata have {sorted(metadata)}, but not {_KEY!r}")
    try:
        form = json.loads(metadata[_KEY], object_hook=_from_plain)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: what describes the model is no JSON ({error})") from None
    version = form.get("format") if isinstance(form, dict) else None
    if version != FORMAT or isinstance(version, bool):
        raise ValueError(f"{path} has format {version!r}, but this version of fastrnn reads format {FORMAT}")
    name, arguments = form.get("class"), form.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ValueError(f"{path} is damaged: what describes the model names no class and arguments")
    return name, arguments


def read(path: str) -> tuple[dict[str, str], dict[str, npt.NDArray[Any]]]:
    """Metadata and tensors of a safetensors file."""
    module = _safetensors("")
    with open(path, "rb"):  # so that a file that is not there is an OSError, not a damaged one
        pass
    try:
        with module.safe_open(path, framework="np") as file:
            names = file.keys()
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except (module.SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is no whole safetensors file: {error}") from None


def _plain(value: Any) -> dict[str, Any]:
    """JSON for an argument that is no plain value."""
    if isinstance(value, _PLAIN):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} has no form in a file")


def _from_plain(value: dict[str, Any]) -> Any:
    """The inverse of `_plain`."""
    for kind in _PLAIN:
        if value.keys() == {field.name for field in fields(kind)}:
            return kind(**value)
    return value


def _write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside its place, to the disk, then moves it there."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(beside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _safetensors(module: str) -> Any:
    """A module of the safetensors package, imported when a model is saved or loaded."""
    try:
        return importlib.import_module(f"safetensors.{module}".rstrip("."))
    except ImportError:
        raise ImportError("saving and loading models needs safetensors: pip install fastrnn[io]") from None
