# SPDX-License-Identifier: MIT
"""Schedules against torch.optim.lr_scheduler and plain loops, and what rates an optimizer is given in a fit."""

import warnings

import fastrnn
import numpy as np
import pytest
from fastrnn import schedules
from networks import echo, snapshot, tagger

COUNT, BASE = 23, 0.3


def warm_cosine(torch, optimizer):
    scheduler = torch.optim.lr_scheduler
    first = scheduler.LinearLR(optimizer, 0.25, total_iters=5)
    second = scheduler.CosineAnnealingLR(optimizer, 15 - 5, 0.01)
    return scheduler.SequentialLR(optimizer, [first, second], [5])


PAIRS = {
    "step": (schedules.Step(4, 0.5), lambda t, o: t.optim.lr_scheduler.StepLR(o, 4, 0.5)),
    "exponential": (schedules.Exponential(0.9), lambda t, o: t.optim.lr_scheduler.ExponentialLR(o, 0.9)),
    "linear": (schedules.Linear(7), lambda t, o: t.optim.lr_scheduler.LinearLR(o, total_iters=7)),
    "linear-down": (
        schedules.Linear(7, 1.0, 0.2),
        lambda t, o: t.optim.lr_scheduler.LinearLR(o, 1.0, 0.2, total_iters=7),
    ),
    "cosine": (
        schedules.Cosine(22, eta_min=0.02),
        lambda t, o: t.optim.lr_scheduler.CosineAnnealingLR(o, 22, 0.02),
    ),
    "warm-cosine": (schedules.Cosine(15, 5, 0.25, 0.01), warm_cosine),
}


@pytest.mark.parametrize("name", PAIRS)
def test_against_torch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is an optional further oracle")
    ours, make = PAIRS[name]
    optimizer = torch.optim.SGD([torch.zeros(1)], BASE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions warn of what their SequentialLR does
        theirs = make(torch, optimizer)
        rates = []
        for _ in range(16 if name == "warm-cosine" else COUNT):  # torch's cosine rises again after T_max
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            theirs.step()
    np.testing.assert_allclose([ours.rate(BASE, n, ()) for n in range(len(rates))], rates, rtol=1e-12)


@pytest.mark.parametrize("options", [
    {}, {"patience": 0}, {"patience": 1, "cooldown": 2}, {"patience": 0, "min_lr": 0.05},
    {"patience": 2, "threshold": 0.2, "factor": 0.3},
])  # fmt: skip
@pytest.mark.parametrize("monitor", ["loss", "validation_accuracy"])
def test_plateau_against_torch(options, monitor):
    torch = pytest.importorskip("torch", reason="PyTorch is an optional further oracle")
    optimizer = torch.optim.SGD([torch.zeros(1)], BASE)
    mode = "max" if monitor.endswith("accuracy") else "min"
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode, **options)
    ours = schedules.ReduceOnPlateau(**options, monitor=monitor)
    values = np.random.default_rng(3).uniform(0.5, 1, 60).tolist()
    values[20] = float("nan")
    for n, value in enumerate(values):
        assert ours.rate(BASE, n, values[:n]) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        theirs.step(value)
    assert not options or ours.rate(BASE, 60, values) < BASE


def test_cosine_stays_where_it_ends():
    assert [schedules.Cosine(4, eta_min=0.5).rate(1.0, n, ()) for n in (4, 5, 9)] == [0.5] * 3


class Rates(fastrnn.Callback):
    """The rate of each update."""

    def __init__(self):
        self.seen = []

    def on_update_end(self, state):
        self.seen.append((state.epoch, state.optimizer.lr))


@pytest.mark.parametrize("per", ["epoch", "update"])
def test_rates_of_a_fit(per):
    x, y = echo(40)
    optimizer, rates = fastrnn.Adam(BASE), Rates()
    history = tagger().fit(
        x, y, epochs=3, batch_size=8, optimizer=optimizer, schedule=schedules.Exponential(0.5, per),
        callbacks=[rates], progress=False,
    )  # fmt: skip
    counts = [epoch - 1 if per == "epoch" else n for n, (epoch, _) in enumerate(rates.seen)]
    assert [rate for _, rate in rates.seen] == [BASE * 0.5**n for n in counts]
    assert history.learning_rate.tolist() == [dict(rates.seen)[epoch] for epoch in (1, 2, 3)]
    assert optimizer.lr == BASE


def test_a_schedule_acts_in_the_updates():
    x, y = echo(40)
    settings = {"batch_size": 8, "shuffle": False, "progress": False}
    model, twin = tagger(), tagger()
    model.fit(x, y, epochs=2, optimizer=fastrnn.SGD(0.5), schedule=schedules.Exponential(0.1), **settings)
    for lr in (0.5, 0.5 * 0.1):
        twin.fit(x, y, epochs=1, optimizer=fastrnn.SGD(lr), **settings)
    assert snapshot(model) == snapshot(twin)


def test_a_plateau_follows_what_is_measured():
    x, y = echo(40)
    rates = tagger().fit(
        x, y, epochs=6, optimizer=fastrnn.SGD(1e-9), validation_data=(x, y), progress=False,
        schedule=schedules.ReduceOnPlateau(0.5, patience=1, threshold=0.1),
    ).learning_rate  # fmt: skip
    assert rates.tolist() == [1e-9, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9], "changes below 1e-8 are none, as in torch"
    rates = tagger().fit(
        x, y, epochs=6, optimizer=fastrnn.SGD(1e-4), validation_data=(x, y), progress=False,
        schedule=schedules.ReduceOnPlateau(0.5, patience=1, threshold=0.1),
    ).learning_rate  # fmt: skip
    assert (rates * 1e4).tolist() == [1, 1, 1, 0.5, 0.5, 0.25]


def test_a_schedule_of_ones_own():
    class Half(schedules.Schedule):
        per = "update"

        def rate(self, base, n, measured):
            assert measured == []
            return base / (1 + n)

    x, y = echo(40)
    rates = Rates()
    tagger().fit(x, y, epochs=1, batch_size=8, schedule=Half(), callbacks=[rates], progress=False)
    assert [rate for _, rate in rates.seen] == [1e-3 / (1 + n) for n in range(len(rates.seen))]


def test_an_optimizer_has_its_rate_again_after_an_error():
    x, y = echo(40)
    optimizer = fastrnn.SGD(0.5)

    class Fail(fastrnn.Callback):
        def on_update_end(self, state):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        tagger().fit(
            x,
            y,
            epochs=1,
            optimizer=optimizer,
            schedule=schedules.Linear(9),
            callbacks=[Fail()],
            progress=False,
        )
    assert optimizer.lr == 0.5


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: schedules.Step(0), ValueError, "step_size is 0"),
        (lambda: schedules.Step(2, gamma=-1), ValueError, "gamma is -1"),
        (
            lambda: schedules.Step(2, per="batch"),
            ValueError,
            "per is 'batch', but must be one of 'epoch', 'update'",
        ),
        (lambda: schedules.Exponential("0.9"), TypeError, "gamma is '0.9'"),
        (lambda: schedules.Exponential(0.9, per=None), ValueError, "per is None"),
        (lambda: schedules.Linear(2.0), TypeError, "total_iters is 2.0"),
        (lambda: schedules.Linear(2, start_factor=-0.1), ValueError, "start_factor is -0.1"),
        (lambda: schedules.Linear(2, end_factor=np.inf), ValueError, "end_factor is inf"),
        (lambda: schedules.Cosine(0), ValueError, "T_max is 0"),
        (
            lambda: schedules.Cosine(5, warmup=5),
            ValueError,
            "warmup is 5, but must be less than T_max, which is 5",
        ),
        (lambda: schedules.Cosine(5, eta_min=-1), ValueError, "eta_min is -1"),
        (lambda: schedules.ReduceOnPlateau(1.0), ValueError, "factor is 1.0"),
        (lambda: schedules.ReduceOnPlateau(patience=-1), ValueError, "patience is -1"),
        (
            lambda: schedules.ReduceOnPlateau(monitor="f1"),
            ValueError,
            "monitor is 'f1', but must be one of 'loss'",
        ),
    ],
)
def test_bad_settings(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("schedule", "error", "words"),
    [
        (0.9, TypeError, r"schedule is 0.9 .* fastrnn.schedules.Exponential\(0.9\)"),
        (
            schedules.ReduceOnPlateau(),
            ValueError,
            "ReduceOnPlateau has monitor='validation_loss', but there is no validation_data",
        ),
    ],
)
def test_bad_schedules(schedule, error, words):
    x, y = echo(40)
    model = tagger()
    before = snapshot(model)
    with pytest.raises(error, match=words):
        model.fit(x, y, epochs=1, schedule=schedule, progress=False)
    assert snapshot(model) == before
