# SPDX-License-Identifier: MIT
"""400 seeded configurations of torch.nn's layers: float64 within 1e-9, y, states and all gradients.

A failure names its seed; `one(seed)` runs it again.
"""

import dataclasses

import fastrnn
import numpy as np
import pytest
from fastrnn import _core
from layouts import LAYOUTS
from targets import using

torch = pytest.importorskip("torch", reason="PyTorch is an optional further oracle")
torch.set_num_threads(1)  # its pool is slow where other processes want the cores

BOUND = 1e-9
COUNT, CHUNK = 400, 20


def takes(layer, **options):
    """Whether a layer knows the options."""
    try:
        layer(2, 2, **options)
    except TypeError:
        return False
    return True


LAYERS = ["RNN tanh", "RNN relu", "GRU", "LSTM"] + ["LSTM projected"] * takes(fastrnn.LSTM, proj_size=1)


@dataclasses.dataclass
class Configuration:
    """Everything that is drawn for one seed."""

    layer: str
    T: int
    B: int
    I: int  # noqa: E741
    H: int
    proj_size: int  # 0: none
    num_layers: int
    bidirectional: bool
    bias: bool
    batch_first: bool
    unbatched: bool
    lengths: np.ndarray | None
    stateful: bool  # the initial state is given
    given: tuple  # which of dy, dh and dc are
    accumulated: bool  # gradients are added to an array
    x_gradient: bool
    layouts: tuple  # of x, dy and states
    target: str
    threads: int
    split: str | None

    @property
    def arguments(self):
        """Of the constructor, here and in torch."""
        names = ("num_layers", "bidirectional", "bias", "batch_first")
        kind, _, word = self.layer.partition(" ")
        options = {name: getattr(self, name) for name in names}
        options |= {"nonlinearity": word} if kind == "RNN" else {}
        options |= {"proj_size": self.proj_size} if self.proj_size else {}
        return kind, options

    @property
    def widths(self):
        """Of h and, if there is one, c."""
        return (self.proj_size or self.H, self.H)[: 1 + self.layer.startswith("LSTM")]


def repeated_row(a):
    """All rows of a batch are one: a stride of 0."""
    return np.broadcast_to(a[:, :1], a.shape) if a.ndim == 3 else a


def draw(seed):
    """The configuration of a seed, and its generator for the numbers."""
    random = np.random.default_rng([7, seed])

    def flip(chance=0.5):
        return bool(random.random() < chance)

    T, B, I, H = (int(random.integers(1, most + 1)) for most in (12, 9, 40, 40))  # noqa: E741
    layer = LAYERS[int(random.integers(len(LAYERS)))]
    if layer == "LSTM projected":
        H = max(H, 2)  # torch wants a projection to be narrower than what it projects
    unbatched = flip(0.15)
    names = [*LAYOUTS, "repeated row", "contiguous"]
    return random, Configuration(
        layer=layer,
        T=T,
        B=1 if unbatched else B,
        I=I,
        H=H,
        proj_size=int(random.integers(1, H)) if layer == "LSTM projected" else 0,
        num_layers=int(random.integers(1, 4)),
        bidirectional=flip(),
        bias=flip(0.7),
        batch_first=flip(),
        unbatched=unbatched,
        lengths=random.integers(0, T + 1, B) if not unbatched and flip() else None,
        stateful=flip(0.7),
        given=(flip(0.9), flip(0.7), flip(0.7)),
        accumulated=flip(0.3),
        x_gradient=flip(0.9),
        layouts=tuple(str(random.choice(names)) for _ in range(3)),
        target=str(random.choice(fastrnn.available())),
        threads=int(random.integers(1, 3)),
        split=[None, "batch", "units", "alone"][int(random.integers(4))],
    )


def lay(name, a):
    return {**LAYOUTS, "repeated row": repeated_row, "contiguous": np.copy}[name](a)


def plain(a):
    """A copy as torch takes it."""
    return torch.tensor(np.array(a, np.float64))


@dataclasses.dataclass
class Numbers:
    """Arguments of one call: time-major, with a batch, as float64."""

    x: np.ndarray
    state: tuple
    dy: np.ndarray
    dstate: tuple
    flat: np.ndarray


def numbers(random, chosen):
    parts = chosen.num_layers * (1 + chosen.bidirectional)

    def uniform(*shape):
        return random.uniform(-1, 1, shape)

    def states(bound):
        return tuple(bound * uniform(parts, chosen.B, n) for n in chosen.widths)

    x_layout, dy_layout, _ = chosen.layouts
    x, dy = (
        uniform(chosen.T, chosen.B, n) for n in (chosen.I, chosen.widths[0] * (1 + chosen.bidirectional))
    )
    x, dy = (repeated_row(a) if name == "repeated row" else a for name, a in ((x_layout, x), (dy_layout, dy)))
    dstate = tuple(d * given for d, given in zip(states(1), chosen.given[1:]))
    return Numbers(x, states(float(chosen.stateful)), dy * chosen.given[0], dstate, uniform(100_000))


def ours(chosen, numbers, parameters):
    """Results of the layer by name, time-major and with a batch."""
    kind, options = chosen.arguments
    with using(chosen.target):
        net = getattr(fastrnn, kind)(chosen.I, chosen.H, dtype="float64", **options)
    net.load_state_dict(parameters)

    def arrange(a):
        return a[:, 0] if chosen.unbatched else a.swapaxes(0, 1) if chosen.batch_first else a

    def restore(a):
        return a[:, None] if chosen.unbatched else a.swapaxes(0, 1) if chosen.batch_first else a

    def state_of(arrays, given):
        arrays = [s[:, 0] if chosen.unbatched else s for s in arrays]
        arrays = [lay(chosen.layouts[2], s) if wanted else None for s, wanted in zip(arrays, given)]
        return tuple(arrays) if len(arrays) > 1 else arrays[0]

    # A repeated row stays one only where arrays are not arranged anew.
    x, dy = (
        arrange(lay(name, a)) if name == "repeated row" else lay(name, arrange(a))
        for name, a in zip(chosen.layouts, (numbers.x, numbers.dy))
    )
    if "repeated row" in chosen.layouts[2:]:  # states differ from row to row
        chosen = dataclasses.replace(chosen, layouts=(*chosen.layouts[:2], "read-only"))
    start = numbers.flat[: net.flat.size].copy() if chosen.accumulated else None
    flat = None if start is None else start.copy()
    _core.force_split(chosen.split)
    try:
        with fastrnn.threads(chosen.threads):
            before = state_of(numbers.state, (True, True)) if chosen.stateful else None
            y, after, tape = net.forward(x, before, lengths=chosen.lengths)
            dstate = state_of(numbers.dstate, chosen.given[1:]) if any(chosen.given[1:]) else None
            dy = dy if chosen.given[0] else None
            grads = net.backward(tape, dy, dstate, flat=flat, x_gradient=chosen.x_gradient)
    finally:
        _core.force_split(None)
    assert (grads.x is None) != chosen.x_gradient
    if flat is not None:
        assert grads.flat is flat
        flat -= start
    found = {"y": restore(y)} | ({"dx": restore(grads.x)} if chosen.x_gradient else {})
    for name, arrays in (("state", after), ("dstate", grads.state)):
        arrays = arrays if isinstance(arrays, tuple) else (arrays,)
        found |= {f"{name}{k}": s[:, None] if chosen.unbatched else s for k, s in enumerate(arrays)}
    return found | {"d" + name: value for name, value in grads.params.items()}


def theirs(chosen, numbers, parameters):
    """The same of torch; sequences of length 0, which it does not know, by what they must give."""
    kind, options = chosen.arguments
    net = getattr(torch.nn, kind)(chosen.I, chosen.H, dtype=torch.float64, **options)
    assert list(net.state_dict()) == list(parameters)
    net.load_state_dict({name: plain(value) for name, value in parameters.items()})
    rows = np.arange(chosen.B) if chosen.lengths is None else np.flatnonzero(chosen.lengths)
    x = plain(numbers.x[:, rows]).requires_grad_()
    state = tuple(plain(s[:, rows]).requires_grad_() for s in numbers.state)
    values = {
        "y": np.zeros(numbers.dy.shape),
        "dx": np.zeros(numbers.x.shape),
        **{f"state{k}": s.copy() for k, s in enumerate(numbers.state)},
        **{f"dstate{k}": s.copy() for k, s in enumerate(numbers.dstate)},
        **{"d" + name: np.zeros(value.shape) for name, value in parameters.items()},
    }
    if not len(rows):
        return values
    given = x.transpose(0, 1) if chosen.batch_first else x
    start = state
    if chosen.unbatched:
        given, start = x[:, 0], tuple(s[:, 0] for s in state)
    if chosen.lengths is not None:
        pack = torch.nn.utils.rnn.pack_padded_sequence
        lengths = torch.tensor(chosen.lengths[rows])
        given = pack(given, lengths, batch_first=chosen.batch_first, enforce_sorted=False)
    y, final = net(given, start if len(start) > 1 else start[0])
    finals = final if isinstance(final, tuple) else (final,)
    if chosen.lengths is not None:
        unpack = torch.nn.utils.rnn.pad_packed_sequence
        y, _ = unpack(y, batch_first=chosen.batch_first, total_length=chosen.T)
    if chosen.unbatched:
        y, finals = y[:, None], tuple(s[:, None] for s in finals)
    elif chosen.batch_first:
        y = y.transpose(0, 1)
    torch.autograd.backward(
        [y, *finals], [plain(numbers.dy[:, rows]), *(plain(d[:, rows]) for d in numbers.dstate)]
    )
    for name, value in {"y": y, "dx": x.grad}.items():
        values[name][:, rows] = value.detach().numpy()
    for k, (after, before) in enumerate(zip(finals, state)):
        values[f"state{k}"][:, rows] = after.detach().numpy()
        values[f"dstate{k}"][:, rows] = before.grad.numpy()
    return values | {"d" + name: p.grad.numpy() for name, p in net.named_parameters()}


def parameters_of(random, chosen):
    """By name, of a net without one."""
    kind, options = chosen.arguments
    shapes = getattr(fastrnn, kind)(chosen.I, chosen.H, **options).parameters()
    scales = {name: a.shape[-1] ** -0.5 if a.ndim == 2 else 0.5 for name, a in shapes.items()}
    return {name: random.uniform(-1, 1, a.shape) * scales[name] for name, a in shapes.items()}


def one(seed):
    random, chosen = draw(seed)
    given = numbers(random, chosen)
    parameters = parameters_of(random, chosen)
    want = theirs(chosen, given, parameters)
    try:
        got = ours(chosen, given, parameters)
    except Exception as error:
        raise AssertionError(f"seed {seed}: {error!r} of {chosen}") from error
    if not chosen.x_gradient:
        del want["dx"]
    assert got.keys() == want.keys(), f"seed {seed}: {sorted(got)} but expected {sorted(want)} of {chosen}"
    for name in want:
        assert got[name].shape == want[name].shape, f"seed {seed}: {name} {got[name].shape} of {chosen}"
        error = np.abs(got[name] - want[name]).max()
        assert error <= BOUND, f"seed {seed}: {name} is off by {error:.2e} of {chosen}"


@pytest.mark.parametrize("first", range(0, COUNT, CHUNK))
def test_configurations(first):
    for seed in range(first, first + CHUNK):
        one(seed)


def test_every_kind_is_drawn():
    """What the seeds have to cover, each in several of them."""
    drawn = [draw(seed)[1] for seed in range(COUNT)]
    for name in LAYERS:
        mine = [chosen for chosen in drawn if chosen.layer == name]
        assert len(mine) >= COUNT // 10
        assert {chosen.target for chosen in mine} == set(fastrnn.available())
        assert {(chosen.num_layers, chosen.bidirectional) for chosen in mine} == {
            (n, both) for n in (1, 2, 3) for both in (False, True)
        }
        for fact in ("bias", "batch_first", "unbatched", "stateful", "accumulated", "x_gradient"):
            assert {getattr(chosen, fact) for chosen in mine} == {False, True}, fact
        assert any(chosen.lengths is not None and 0 in chosen.lengths for chosen in mine)
    assert {name for chosen in drawn for name in chosen.layouts} == {
        *LAYOUTS,
        "repeated row",
        "contiguous",
    }
