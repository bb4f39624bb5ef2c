# SPDX-License-Identifier: MIT
"""Optimizers against a plain loop and torch.optim, the scale of clipping, whose state they hold."""

import copy
import gc
import pickle
import weakref

import fastrnn
import numpy as np
import pytest

SIZES = (1, 7, 64, 1003)
STEPS = 7
SCALE = 0.37

SETTINGS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.02}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-3, "weight_decay": 0.02}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.5}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.8, "eps": 1e-3, "weight_decay": 0.02}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.01, "eps": 1e-2, "centered": True}),
    ("RMSprop", {"lr": 0.01, "eps": 1e-2, "centered": True, "momentum": 0.5, "weight_decay": 0.1}),
]


@pytest.fixture(params=SETTINGS, ids=lambda setting: "-".join((setting[0], *setting[1])))
def setting(request):
    return request.param


def buffers(dtype):
    """Parameters and, for every step, gradients."""
    rng = np.random.default_rng(8)
    parameters = [rng.standard_normal(size).astype(dtype) for size in SIZES]
    return parameters, [[rng.standard_normal(size).astype(dtype) for size in SIZES] for _ in range(STEPS)]


class PlainSGD:
    def __init__(self, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
        self.lr, self.momentum, self.nesterov, self.decay = lr, momentum, nesterov, weight_decay
        self.velocity = None

    def step(self, p, g):
        g = g + self.decay * p
        self.velocity = g if self.velocity is None else self.momentum * self.velocity + g
        return p - self.lr * (g + self.momentum * self.velocity if self.nesterov else self.velocity)


class PlainAdam:
    decoupled = False

    def __init__(self, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        self.lr, self.betas, self.eps, self.decay = lr, betas, eps, weight_decay
        self.m = self.v = self.t = 0

    def step(self, p, g):
        if self.decoupled:
            p = p - self.lr * self.decay * p
        else:
            g = g + self.decay * p
        self.t += 1
        self.m = self.betas[0] * self.m + (1 - self.betas[0]) * g
        self.v = self.betas[1] * self.v + (1 - self.betas[1]) * g**2
        m, v = self.m / (1 - self.betas[0] ** self.t), self.v / (1 - self.betas[1] ** self.t)
        return p - self.lr * m / (np.sqrt(v) + self.eps)


class PlainAdamW(PlainAdam):
    decoupled = True

    def __init__(self, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(lr, betas, eps, weight_decay)


class PlainRMSprop:
    def __init__(self, lr, alpha=0.99, eps=1e-8, centered=False, momentum=0.0, weight_decay=0.0):
        self.lr, self.alpha, self.eps, self.centered = lr, alpha, eps, centered
        self.momentum, self.decay = momentum, weight_decay
        self.v = self.a = self.b = 0

    def step(self, p, g):
        g = g + self.decay * p
        self.v = self.alpha * self.v + (1 - self.alpha) * g**2
        if self.centered:
            self.a = self.alpha * self.a + (1 - self.alpha) * g
        self.b = self.momentum * self.b + g / (np.sqrt(self.v - self.a**2) + self.eps)
        return p - self.lr * self.b


PLAIN = {"SGD": PlainSGD, "Adam": PlainAdam, "AdamW": PlainAdamW, "RMSprop": PlainRMSprop}


def test_against_a_plain_loop(setting, dtype):
    name, options = setting
    parameters, gradients = buffers(dtype)
    loops = [PLAIN[name](**options) for _ in SIZES]
    want = [p.astype(np.float64) for p in parameters]
    optimizer = getattr(fastrnn, name)(**options)
    for step in gradients:
        kept = [g.copy() for g in step]
        optimizer.update(parameters, step, SCALE)
        assert all(np.array_equal(g, k) for g, k in zip(step, kept)), "gradients were changed"
        want = [loop.step(p, SCALE * g.astype(np.float64)) for loop, p, g in zip(loops, want, step)]
    assert optimizer.steps == STEPS
    for got, expected in zip(parameters, want):
        assert got.dtype == dtype
        # Adam divides by a root that may be small: a few ulp of the step, which is at most lr / (1 - beta1)
        np.testing.assert_allclose(got, expected, rtol=0, atol=64 * float(np.finfo(dtype).eps))


def test_against_torch(setting, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is an optional further oracle")
    name, options = setting
    parameters, gradients = buffers(dtype)
    tensors = [torch.tensor(p.copy(), requires_grad=True) for p in parameters]
    theirs = getattr(torch.optim, name)(tensors, **options)
    ours = getattr(fastrnn, name)(**options)
    for step in gradients:
        for tensor, gradient in zip(tensors, step):
            tensor.grad = torch.tensor(gradient)
        theirs.step()
        ours.update(parameters, step)
    for got, expected in zip(parameters, tensors):
        np.testing.assert_allclose(
            got, expected.detach().numpy(), rtol=0, atol=64 * float(np.finfo(dtype).eps)
        )


def test_defaults_are_those_of_torch():
    torch = pytest.importorskip("torch", reason="PyTorch is an optional further oracle")
    for name in PLAIN:
        ours = getattr(fastrnn, name)()
        theirs = getattr(torch.optim, name)([torch.zeros(1)]).defaults
        assert ours.settings() == {key: theirs[key] for key in ours.settings()}


def test_scale_is_that_of_the_norm():
    """min(1, n / (norm + 1e-6)), as torch."""
    clip = fastrnn.Clip(norm=5.0)
    assert clip.scale(4.0) == 1.0
    assert clip.scale(10.0) == 5.0 / (10.0 + 1e-6)
    assert clip.scale(0.0) == 1.0
    assert fastrnn.Clip().scale(1e300) == 1.0
    assert np.isnan(clip.scale(float("nan")))
    torch = pytest.importorskip("torch", reason="PyTorch is an optional further oracle")
    parameter = torch.zeros(50, dtype=torch.float64, requires_grad=True)
    parameter.grad = torch.linspace(-3, 4, 50, dtype=torch.float64)
    gradient = parameter.grad.numpy().copy()
    torch.nn.utils.clip_grad_norm_(parameter, 5.0)
    scaled = gradient * clip.scale(float(np.linalg.norm(gradient)))
    np.testing.assert_allclose(scaled, parameter.grad.numpy(), rtol=1e-15)


def test_learning_rate_may_change_between_updates():
    parameters = [np.ones(3)]
    optimizer = fastrnn.SGD(0.5)
    optimizer.update(parameters, [np.ones(3)])
    optimizer.lr = 0.25
    optimizer.update(parameters, [np.ones(3)])
    assert parameters[0].tolist() == [0.25] * 3


def test_an_optimizer_belongs_to_its_first_buffers():
    mine, other, gradient = np.ones(4), np.ones(4), np.ones(4)
    optimizer = fastrnn.Adam()
    optimizer.update([mine], [gradient])
    for wrong in ([other], [mine, other], [mine.copy()]):
        with pytest.raises(ValueError, match=r"the state of other arrays of parameters \(of sizes \[4\]\)"):
            optimizer.update(wrong, [gradient] * len(wrong))
    assert optimizer.steps == 1
    assert (other == 1).all()
    optimizer.update([mine], [gradient])
    assert optimizer.steps == 2


def test_an_optimizer_does_not_hold_the_parameters():
    """A layer packs its weights anew for every call while anybody holds its buffer."""
    parameter = np.ones(4)
    optimizer = fastrnn.SGD(0.1, momentum=0.9)
    optimizer.update([parameter], [np.ones(4)])
    there = weakref.ref(parameter)
    del parameter
    gc.collect()
    assert there() is None
    with pytest.raises(ValueError, match="an optimizer of its own"):
        optimizer.update([np.ones(4)], [np.ones(4)])


def read_only():
    array = np.ones(3)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("parameters", "gradients", "error", "words"),
    [
        ([np.ones(3)], [], ValueError, "1 parameter buffers, but 0 gradients"),
        ([[1.0]], [np.ones(1)], TypeError, r"parameters\[0\] is of type list"),
        ([np.ones(3)], [[1.0] * 3], TypeError, r"gradients\[0\] is of type list"),
        (
            [np.ones(3)],
            [np.ones(4)],
            ValueError,
            r"gradients\[0\] has shape \(4,\), but parameters\[0\] \(3,\)",
        ),
        ([np.ones(3)], [np.ones(3, "f4")], TypeError, "float32, but parameters.* float64"),
        ([np.ones(3, int)], [np.ones(3, int)], TypeError, "int64"),
        ([np.ones((3, 1))], [np.ones((3, 1))], ValueError, r"parameters\[0\] has shape \(3, 1\)"),
        ([np.ones(6)[::2]], [np.ones(3)], ValueError, r"parameters\[0\] is written in place"),
        ([np.ones(3)], [np.ones(6)[::2]], ValueError, r"gradients\[0\] must be contiguous"),
        ([read_only()], [np.ones(3)], ValueError, r"parameters\[0\] is written in place"),
        ([np.ones(2), np.ones(3)], [np.ones(2)] * 2, ValueError, r"gradients\[1\] has shape \(2,\)"),
    ],
)
def test_bad_buffers(parameters, gradients, error, words):
    optimizer = fastrnn.Adam()
    with pytest.raises(error, match=words):
        optimizer.update(parameters, gradients)
    assert optimizer.steps == 0
    assert all((np.asarray(p) == 1).all() for p in parameters)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: fastrnn.Adam("fast"), TypeError, "lr is 'fast'"),
        (lambda: fastrnn.Adam(True), TypeError, "lr is True"),
        (lambda: fastrnn.Adam(-1.0), ValueError, "lr is -1.0, but must be at least 0"),
        (lambda: fastrnn.Adam(float("nan")), ValueError, "lr is nan"),
        (lambda: fastrnn.Adam(float("inf")), ValueError, "lr is inf"),
        (lambda: fastrnn.Adam(betas=0.9), TypeError, "betas is 0.9, not a pair"),
        (lambda: fastrnn.Adam(betas=(0.9, 1.0)), ValueError, "both must be below 1"),
        (lambda: fastrnn.Adam(betas=(-0.1, 0.9)), ValueError, r"betas\[0\] is -0.1"),
        (lambda: fastrnn.Adam(eps=-1e-8), ValueError, "eps is -1e-08"),
        (lambda: fastrnn.AdamW(weight_decay=None), TypeError, "weight_decay is None"),
        (lambda: fastrnn.SGD(momentum=1.5), ValueError, "momentum is 1.5, but must be from 0 to 1"),
        (lambda: fastrnn.SGD(nesterov=True), ValueError, "nesterov is True, but momentum is 0.0"),
        (lambda: fastrnn.SGD(momentum=0.9, nesterov=1), TypeError, "nesterov is 1"),
        (lambda: fastrnn.RMSprop(alpha=1.5), ValueError, "alpha is 1.5, but must be from 0 to 1"),
        (lambda: fastrnn.RMSprop(eps="0"), TypeError, "eps is '0'"),
        (lambda: fastrnn.RMSprop(centered=1), TypeError, "centered is 1"),
        (lambda: fastrnn.RMSprop(momentum=-0.1), ValueError, "momentum is -0.1"),
        (lambda: fastrnn.RMSprop(weight_decay=np.nan), ValueError, "weight_decay is nan"),
        (lambda: fastrnn.Clip(norm=0.0), ValueError, "norm is 0.0, but must be greater than 0"),
        (lambda: fastrnn.Clip(norm=-5), ValueError, "norm is -5"),
        (lambda: fastrnn.Clip(norm=float("inf")), ValueError, "norm is inf"),
        (lambda: fastrnn.Clip(norm="5"), TypeError, "norm is '5'"),
    ],
)
def test_bad_settings(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["copy", "pickle"]
)
def test_a_copy_goes_on_where_the_optimizer_was(how):
    mine, gradient = np.ones(4), np.arange(4.0)
    optimizer = fastrnn.Adam(0.1)
    optimizer.update([mine], [gradient])
    twin, theirs = how(optimizer), mine.copy()
    optimizer.update([mine], [gradient])
    twin.update([theirs], [gradient])
    np.testing.assert_array_equal(theirs, mine)
    with pytest.raises(ValueError, match="other arrays of parameters"):
        twin.update([mine], [gradient])


def test_the_repr_makes_another_one_and_leaves_out_defaults(setting):
    name, options = setting
    optimizer = getattr(fastrnn, name)(**options)
    again = eval(repr(optimizer), vars(fastrnn))
    assert type(again) is type(optimizer)
    assert again.settings() == optimizer.settings()
    assert repr(getattr(fastrnn, name)(0.5)) == f"{name}(lr=0.5)"
    optimizer.lr = 0.25
    assert repr(optimizer).startswith(f"{name}(lr=0.25")


def test_the_learning_rate_may_be_set_and_is_checked():
    optimizer, p = fastrnn.SGD(0.5), np.zeros(1)
    optimizer.lr = 2
    optimizer.update([p], [np.ones(1)])
    assert p[0] == -2
    for wrong, error in ((-1, ValueError), ("a", TypeError), (np.nan, ValueError)):
        with pytest.raises(error, match="lr"):
            optimizer.lr = wrong
    for scale in (np.nan, np.inf, -1):
        with pytest.raises(ValueError, match="scale"):
            optimizer.update([p], [np.ones(1)], scale)
    assert (optimizer.lr, optimizer.steps, p[0]) == (2, 1, -2)


def test_a_restored_optimizer_goes_on_where_the_other_was(setting, dtype):
    name, options = setting
    parameters, gradients = buffers(dtype)
    mine = getattr(fastrnn, name)(**options)
    for step in gradients[:3]:
        mine.update(parameters, step)
    theirs = [p.copy() for p in parameters]
    twin = getattr(fastrnn, name)(**options)
    twin.restore(theirs, mine.steps, mine.state())
    assert twin.settings() == mine.settings()
    for step in gradients[3:]:
        mine.update(parameters, step)
        twin.update(theirs, step)
    assert twin.steps == mine.steps == STEPS
    assert [p.tobytes() for p in theirs] == [p.tobytes() for p in parameters]
    with pytest.raises(ValueError, match="other arrays of parameters"):
        twin.restore(parameters, mine.steps, mine.state())


def test_an_optimizer_is_not_restored_from_another_state():
    parameters = [np.ones(4)]
    adam, sgd = fastrnn.Adam(), fastrnn.SGD(momentum=0.9)
    for optimizer in (adam, sgd):
        optimizer.update(parameters, [np.ones(4)])
    fresh = fastrnn.Adam()
    for state, words in (
        (sgd.state(), r"the state is of momentum_buffer, but this optimizer has m, v"),
        (
            {"m": [np.ones(4)], "v": [np.ones(5)]},
            r"v of buffer 0 has shape \(5,\) and dtype float64, but \(4,\) and float64 are",
        ),
        ({"m": [np.ones(4)], "v": [None]}, r"v of buffer 0 is missing"),
        ({"m": [np.ones(4)], "v": []}, r"v is of 0 buffers, but there are 1"),
    ):
        with pytest.raises(ValueError, match=words):
            fresh.restore(parameters, 1, state)
        assert fresh.steps == 0
        assert fresh.state() == {}
