# SPDX-License-Identifier: MIT
"""What the topologies share: named parameters, training, prediction and files.

A model is made of parts (embedding, recurrent layers, readout), each with all its parameters in one flat
buffer. How the parts are wired is the topology: the abstract methods.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from .. import _check, training
from ..batching import Batch, SequencePairs, Sequences, bucket, sequences
from ..clip import Clip
from ..embedding import EmbeddingTable
from ..gradients import Gradient, RowGradient
from ..layers import CELLS
from ..losses import OUTPUTS
from ..optim import Adam, Optimizer
from ..recurrent import Recurrent
from ..training import History, Score

_Array = npt.NDArray[Any]
_Kind = TypeVar("_Kind")


class Part(Protocol):
    """Parameters that live in one flat buffer."""

    @property
    def flat(self) -> _Array:
        """(P,) all parameters of the part."""

    def parameters(self) -> dict[str, _Array]:
        """Writable views of `flat` by name."""

    def _views(self, flat: _Array) -> dict[str, _Array]:
        """Views, by the names of the parameters, of an array laid out like `flat`."""


class Model(ABC):
    """Base of the topologies.

    Args:
        arguments: what the constructor was called with, without the seed; written to files.
        parts: the parts by the name that prefixes their parameters.
        activation: output function g, a key of `losses.OUTPUTS`.
        outputs: K.
    """

    def __init__(
        self, arguments: Mapping[str, Any], parts: Mapping[str, Part], activation: str, outputs: int
    ) -> None:
        self._arguments = dict(arguments)
        self._parts = dict(parts)
        self._dtype: np.dtype[Any] = next(iter(parts.values())).flat.dtype
        self._output = OUTPUTS[activation]
        self._outputs = outputs

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self._arguments.items())
        return f"{type(self).__name__}({arguments})"

    # ---- parameters ----

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments that make a model of the same form (not its seed)."""
        return dict(self._arguments)

    def parameters(self) -> dict[str, _Array]:
        """All parameters as writable views, by names such as "rnn.weight_ih_l0" (within a part as torch)."""
        return {
            f"{prefix}.{name}": array
            for prefix, part in self._parts.items()
            for name, array in part.parameters().items()
        }

    def state_dict(self) -> dict[str, _Array]:
        """Copies of all parameters by name."""
        return {name: array.copy() for name, array in self.parameters().items()}

    def load_state_dict(self, state: Mapping[str, _Array]) -> None:
        """Sets all parameters, converted to the model's dtype.

        Raises:
            TypeError: a value is no array of floating-point numbers.
            ValueError: a name is missing or unknown, or a shape differs. In all cases nothing is changed.
        """
        parameters = self.parameters()
        shapes = {name: array.shape for name, array in parameters.items()}
        for name, array in _check.state_dict(state, shapes, repr(self), self._dtype).items():
            parameters[name][...] = array

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model to a safetensors file (see `fastrnn.load`), which appears whole or not at all.

        Raises:
            ImportError: safetensors is not installed (pip install fastrnn[io]).
            OSError: the file cannot be written; a file that was there before is untouched.
        """
        from .. import io  # it imports this module, and json and pathlib, which training does without

        io.save(self, path)

    # ---- training ----

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        epochs: int,
        batch_size: int = 32,
        optimizer: Optimizer | None = None,
        clip: Clip | None = None,
        lengths: npt.ArrayLike | None = None,
        validation_data: tuple[Any, ...] | None = None,
        shuffle: bool = True,
        seed: int | None = None,
        progress: bool = True,
    ) -> History:
        """Trains the model by backpropagation through time over whole sequences.

        Batches are made of sequences of similar length; padding and empty sequences contribute nothing. The
        loss follows from the activation (see losses.py) and is the mean over the valid steps of a batch. With
        equal data, seeds and settings the result is the same bit for bit, for any number of fastrnn's threads
        (and of the BLAS's, unless the readout is so large that products.py leaves it whole). Interrupted by
        Ctrl-C, the model keeps what it has learned so far.

        Args:
            x: list of N sequences, each token ids (T_n,) or features (T_n, I); or one padded array (N,T) or
                (N,T,I). Features become the model's dtype; values of padding are not read.
            y: targets in the same form: class ids (T_n,) for softmax, numbers (T_n, K) for linear, and from
                0 to 1 for sigmoid.
            epochs: passes over the data.
            batch_size: sequences a batch.
            optimizer: None is Adam(1e-3). An optimizer keeps its state: pass the same one to train on.
            clip: limits for the gradient; those of steps act in the recurrent layers, `value` and `norm` on all
                parameters.
            lengths: (N,) true lengths where x is padded; None: all T.
            validation_data: (x, y) or (x, y, lengths), measured after each epoch.
            shuffle: mix sequences of equal length and the order of batches anew in each epoch; False goes
                from short to long in each epoch.
            seed: of the shuffling and of the masks of dropout; None takes another one each time for the former,
                and goes on with the masks of the model's own seed.
            progress: show a bar with loss and tokens a second, where tqdm is installed.

        Raises:
            TypeError, ValueError: an argument does not fit; nothing was trained.
            FloatingPointError: loss or gradient of a batch is not finite; the parameters are those before
                that batch.
        """
        data, begin = self._training_data(x, y, lengths), _check.seed(seed)
        settings: dict[str, Any] = {
            "epochs": _check.size("epochs", epochs),
            "batch_size": _check.size("batch_size", batch_size),
            "optimizer": _optional("optimizer", optimizer, Optimizer, "fastrnn.Adam(1e-3)") or Adam(),
            "clip": _optional("clip", clip, Clip, "fastrnn.Clip(norm=5.0)"),
            "validation": None if validation_data is None else self._validation(validation_data),
            "shuffle": _check.flag("shuffle", shuffle),
            "seed": begin,
            "progress": _check.flag("progress", progress),
        }
        if begin is not None:
            self._begin_masks(begin)
        return training.fit(self, data, **settings)

    def _begin_masks(self, seed: int) -> None:
        """Lets the masks of dropout follow from a seed."""
        for number, part in enumerate(self._parts.values()):
            if isinstance(part, Recurrent):
                part._rng = np.random.default_rng([seed, number])

    def _validation(self, given: Any) -> SequencePairs:
        x, y, lengths = _check.validation_data(given)
        try:
            return self._training_data(x, y, lengths)
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation_data: {error}") from None

    def evaluate(
        self, x: Any, y: Any, *, lengths: npt.ArrayLike | None = None, batch_size: int = 64
    ) -> dict[str, float]:
        """Mean loss and share of right decisions over all valid steps: {"loss": ..., "accuracy": ...}.

        A decision is the class of a step for softmax, and whether one element is above one half for sigmoid;
        linear outputs have no accuracy. x, y and lengths, and what is raised, as in `fit`.
        """
        size = _check.size("batch_size", batch_size)
        score = training.evaluate(self, self._training_data(x, y, lengths), size)
        measured = {"loss": score.loss}
        if score.accuracy is not None:
            measured["accuracy"] = score.accuracy
        return measured

    def gradients(
        self, x: Any, y: Any, *, lengths: npt.ArrayLike | None = None
    ) -> tuple[float, dict[str, _Array]]:
        """The mean loss over x and y, taken as one batch, and its gradient to each parameter by name.

        For optimizers and diagnostics of one's own; with dropout, of masks drawn for this call. x, y and lengths, and
        what is raised, as in `fit`.
        """
        data = self._training_data(x, y, lengths)
        buffers = self.gradient_buffers()
        score = self.learn(data.batch(np.flatnonzero(data.lengths)), buffers)
        return score.loss, {
            f"{prefix}.{name}": array
            for prefix, part in self._parts.items()
            for name, array in part._views(buffers[prefix].flat).items()
        }

    def buffers(self) -> dict[str, _Array]:
        """The flat parameters of each part. Held, they make recurrent layers slower: see their `flat`."""
        return {name: part.flat for name, part in self._parts.items()}

    def gradient_buffers(self) -> dict[str, Gradient]:
        """New gradients, all zero, one for each of `buffers`."""
        return {
            name: RowGradient(part.weight) if isinstance(part, EmbeddingTable) else Gradient(part.flat)
            for name, part in self._parts.items()
        }

    def measure(self, batch: Batch) -> Score:
        """Loss and decisions of one batch."""
        return self._loss(self._pre_activations(batch), batch)[0]

    @abstractmethod
    def learn(self, batch: Batch, gradients: Mapping[str, Gradient], clip: Clip | None = None) -> Score:
        """The same, and the gradients of the batch's mean loss added to `gradients`.

        Clipped by all of `clip` but `norm`, which is the optimizer's to apply.
        """

    # ---- prediction ----

    def predict(self, x: Any, *, lengths: npt.ArrayLike | None = None, batch_size: int = 64) -> Any:
        """Decisions at each step: the class (softmax), 0 or 1 an output (sigmoid), the outputs (linear).

        Args:
            x, lengths: as in `fit`.
            batch_size: sequences computed at once.

        Returns:
            In the order of x: for a list of sequences a list of arrays (T_n,) or (T_n, K), for a padded array
            one array (N,T) or (N,T,K), which past the end of a sequence holds -1 (class ids) or 0.
        """
        if self._output.by_class:
            return self._collect(x, lengths, batch_size, self._output.decide, (), np.dtype(np.int64), -1)
        dtype = self._dtype if self._output.hits is None else np.dtype(np.int64)
        return self._collect(x, lengths, batch_size, self._output.decide, (self._outputs,), dtype, 0)

    def predict_proba(self, x: Any, *, lengths: npt.ArrayLike | None = None, batch_size: int = 64) -> Any:
        """Probabilities y = g(z) (T_n, K) at each step, in the form of `predict`; 0 past a sequence's end.

        Raises:
            ValueError: also where outputs are linear, which are no probabilities.
        """
        _check.probabilistic(self._output.hits is not None)
        return self._collect(x, lengths, batch_size, self._output.activate, (self._outputs,), self._dtype, 0)

    def _collect(
        self,
        x: Any,
        lengths: npt.ArrayLike | None,
        batch_size: int,
        finish: Callable[[_Array], _Array],
        item: tuple[int, ...],
        dtype: np.dtype[Any],
        past_end: int,
    ) -> Any:
        size = _check.size("batch_size", batch_size)
        data = self._data(x, lengths)
        rows = np.full((data.rows, *item), past_end, dtype)
        for index in bucket(data.lengths, size):
            batch = data.batch(index)
            rows[batch.where] = finish(self._pre_activations(batch))
        return data.restore(rows)

    # ---- the topology ----

    @classmethod
    @abstractmethod
    def least_parameters(cls, arguments: Mapping[str, Any]) -> int:
        """A lower bound of the parameters of a model of these arguments of the constructor, not yet checked.

        A file must hold as many before the model that it describes is made.
        """

    @abstractmethod
    def _data(self, x: Any, lengths: Any) -> SequencePairs:
        """The user's x to predict from, checked."""

    @abstractmethod
    def _training_data(self, x: Any, y: Any, lengths: Any) -> SequencePairs:
        """The user's x with a y to learn, checked; at least one step."""

    @abstractmethod
    def _pre_activations(self, batch: Batch) -> _Array:
        """z (M,K) of the valid steps of a batch."""

    def _targets(self, y: Any, lengths: Any, x: Sequences) -> Sequences:
        """The user's y with a row for each row of x, checked: class ids (T_n,), or numbers (T_n, K)."""
        _check.some_steps("x", x)
        item, dtype = ((), np.int64) if self._output.by_class else ((self._outputs,), self._dtype)
        targets = sequences("y", y, item, dtype, lengths)
        _check.same_lengths(x, targets)
        _check.targets("y", targets, self._output, self._outputs)
        return targets

    def _loss(self, z: _Array, batch: Batch) -> tuple[Score, _Array]:
        """Score and dz; z is overwritten."""
        targets = batch.targets
        assert targets is not None  # a dataset made with y
        hits = None if self._output.hits is None else self._output.hits(z, targets)
        loss = self._output.loss(z, targets, z)
        return Score(loss.value, targets.size, hits, len(targets)), loss.gradient


def _optional(name: str, value: _Kind | None, kind: type[Any], example: str) -> _Kind | None:
    if value is not None:
        _check.instance(name, value, kind, f"an object such as {example}, or None")
    return value


def recurrent(
    cell: str,
    inputs: int,
    hidden: int,
    num_layers: int,
    options: Mapping[str, Any],
    rng: np.random.Generator,
) -> Recurrent:
    """The recurrent layers of a model, by the name of their cell, with options of the layer."""
    make = CELLS[_check.choice("cell", cell, tuple(CELLS))]
    return make(inputs, hidden, num_layers, seed=int(rng.integers(2**63)), **options)
