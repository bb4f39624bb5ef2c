# SPDX-License-Identifier: MIT
"""Why gates, clipping and a good start: gradients that vanish or explode through time, and what they do to learning.

Of a gradient at the last step, what is left n steps before is a product of n Jacobians dh_t / dh_{t-1}. Below 1 it
vanishes like r^n, and a net cannot learn what lies far back; above 1 it explodes, and one update throws the net away
(Bengio, Simard & Frasconi 1994). Two tasks need memory over T steps:

- adding (Hochreiter & Schmidhuber 1997): the sum of the two numbers of a sequence that are marked. Guessing 1 has a
  mean squared error of 1/6, the variance of the sum.
- copy memory (Hochreiter & Schmidhuber 1997; Arjovsky et al. 2016): the M symbols at the start, after T blank steps.
  Blanks and then guessing have a cross entropy of M ln K / (T + 2M) a step.

    python examples/vanishing.py                                # table and vanishing.png, about a minute
    python examples/vanishing.py --quick --figure none          # the same code in seconds
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import fastrnn
import numpy as np
from fastrnn.losses import mean_squared_error, softmax_cross_entropy
from fastrnn.readout import Readout

BATCH = 32
SYMBOLS, MEMORY = 8, 5  # K and M of copy memory
LAST = (
    100  # a final loss is the mean over so many updates; every batch is new, so that it is a test loss, too
)


# ---- the tasks ----


class Task(NamedTuple):
    """One task of T steps; what a net is asked at the steps from `first` on."""

    name: str
    inputs: int
    outputs: int
    first: int
    baseline: float  # loss of the best guess without memory
    loss: Callable[..., Any]
    draw: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]


def adding(T: int) -> Task:
    """x (T,B,2): numbers from 0 to 1, and a mark on one step of each half; their sum is asked at the end."""

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x = np.zeros((T, BATCH, 2), np.float32)
        x[..., 0] = rng.random((T, BATCH), np.float32)
        rows = np.arange(BATCH)
        x[rng.integers(0, T // 2, BATCH), rows, 1] = 1
        x[rng.integers(T // 2, T, BATCH), rows, 1] = 1
        return x, (x[..., :1] * x[..., 1:]).sum(0)

    return Task(f"adding, T = {T}", 2, 1, T - 1, 1 / 6, mean_squared_error, draw)


def copy_memory(T: int) -> Task:
    """M symbols, T - 1 blanks, a mark, M blanks: x one-hot (T+2M,B,K+2), and at the last M steps the symbols again."""
    steps = T + 2 * MEMORY

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        symbols = rng.integers(1, SYMBOLS + 1, (MEMORY, BATCH))
        x, y = np.zeros((2, steps, BATCH), np.int64)
        x[:MEMORY], x[T + MEMORY - 1], y[-MEMORY:] = symbols, SYMBOLS + 1, symbols
        return np.eye(SYMBOLS + 2, dtype=np.float32)[x], y.reshape(-1)

    baseline = MEMORY * math.log(SYMBOLS) / steps
    return Task(f"copy memory, T = {T}", SYMBOLS + 2, SYMBOLS + 1, 0, baseline, softmax_cross_entropy, draw)


# ---- the nets ----


class Recipe(NamedTuple):
    """A layer, its start and its learning rate for Adam."""

    name: str
    colour: str
    lr: float
    layer: Callable[..., fastrnn.recurrent.Recurrent]
    start: Callable[[dict[str, np.ndarray], np.random.Generator], None]


def as_it_is(parameters: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """U(-1/sqrt(H), 1/sqrt(H)), as every layer starts: a spectral radius of W_hh of about 0.58."""


def large(parameters: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """W_hh of spectral radius 2."""
    weight = parameters["weight_hh_l0"]
    weight[:] = rng.normal(0, 2 / math.sqrt(len(weight)), weight.shape)


def wider(parameters: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """Inputs 100 times as wide as init="identity" draws them: of few steps some are enough to be seen."""
    parameters["weight_ih_l0"] *= 100


def open_gate(parameters: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """A bias of z that keeps the memory at first."""
    bias = parameters["bias_ih_l0"].reshape(3, -1)  # r z n
    bias[1] += 1


TANH = Recipe("tanh", "#b23a48", 1e-3, fastrnn.RNN, as_it_is)
LARGE = Recipe("tanh, large W", "#e08e45", 1e-3, fastrnn.RNN, large)


# W_hh = 1 (Le, Jaitly & Hinton 2015): what is in h stays there. A forget gate that stays open (Gers et al. 2000)
RELU = partial(fastrnn.RNN, nonlinearity="relu", init="identity")
IDENTITY = Recipe("relu, W = 1", "#7a5195", 5e-4, RELU, wider)
LSTM = Recipe("LSTM", "#30638e", 2e-2, partial(fastrnn.LSTM, forget_bias=3.0), as_it_is)
GRU = Recipe("GRU", "#3d8b5f", 1e-2, fastrnn.GRU, open_gate)
TRAINED = (TANH, IDENTITY, LSTM, GRU)


def make(recipe: Recipe, task: Task, hidden: int, seed: int, dtype: str = "float32") -> Any:
    """The layer at its start."""
    net = recipe.layer(task.inputs, hidden, dtype=dtype, seed=seed)
    recipe.start(net.parameters(), np.random.default_rng(seed))
    return net


# ---- gradients through time, and training ----


def flow(net: Any, task: Task, seed: int) -> fastrnn.GradientFlow:
    """Of a gradient of 1 for each unit at the last step. In double, where 10^-100 is still a number."""
    wide = type(net)(task.inputs, net.hidden_size, dtype="float64", **_nonlinearity(net))
    wide.load_state_dict(net.state_dict())
    x, _ = task.draw(np.random.default_rng(seed))
    return fastrnn.gradient_flow(wide, x.astype(np.float64))


def _nonlinearity(net: Any) -> dict[str, str]:
    return {"nonlinearity": net.nonlinearity} if isinstance(net, fastrnn.RNN) else {}


def left(norms: np.ndarray) -> np.ndarray:
    """Norms (1,1,T) of dL/dh_t or dL/dc_t as a share of the last, by how many steps before the end t lies: (T,)."""
    return norms[0, 0, ::-1] / norms[0, 0, -1]


def train(
    net: Any, task: Task, optimizer: Any, updates: int, clip: fastrnn.Clip | None, seed: int
) -> np.ndarray:
    """The loss of every update, each on new sequences; NaN from where the net is lost."""
    rng = np.random.default_rng([seed, 1])
    readout = Readout(net.hidden_size, task.outputs, net.dtype, rng)
    losses = np.full(updates, np.nan)
    for n in range(updates):
        x, targets = task.draw(rng)
        y, _, tape = net.forward(x)
        read = y[task.first :].reshape(-1, net.hidden_size)
        loss = task.loss(readout.forward(read), targets)
        dreadout, dy = np.zeros_like(readout.flat), np.zeros_like(y)
        dy[task.first :] = readout.backward(read, loss.gradient, dreadout).reshape(y[task.first :].shape)
        grads = net.backward(tape, dy, x_gradient=False, clip=clip)
        norm = math.hypot(grads.stats.norm, np.linalg.norm(dreadout))
        if not math.isfinite(loss.value) or not math.isfinite(norm):
            break
        losses[n] = loss.value
        scale = 1.0 if clip is None else clip.scale(norm)
        optimizer.update([net.flat, readout.flat], [grads.flat, dreadout], scale)
    return losses


class Settings(NamedTuple):
    """How much is run."""

    hidden: int
    copy_hidden: int
    steps: tuple[int, ...]  # of adding; gradients are shown for the last
    updates: int
    clip_steps: int
    clip_updates: int
    copy_steps: int
    copy_updates: int


FULL = Settings(32, 64, (50, 100, 200), 2000, 30, 4000, 50, 2000)
QUICK = Settings(16, 16, (10, 30), 40, 30, 40, 10, 40)
SGD_LR, NORM, STEP_NORM = 3e-2, 0.3, 3e-4
CLIPS = {
    "no clipping": None,
    f"norm = {NORM:g}": fastrnn.Clip(norm=NORM),
    f"step_norm = {STEP_NORM:g}": fastrnn.Clip(step_norm=STEP_NORM),
}


def measure(settings: Settings, seed: int) -> dict[str, Any]:
    """All that is shown: curves by name."""
    T, clip = settings.steps[-1], fastrnn.Clip(norm=1.0)
    start, trained, losses = {}, {}, {}
    for recipe in (TANH, LARGE, IDENTITY, LSTM, GRU):
        start[recipe.name] = flow(make(recipe, adding(T), settings.hidden, seed), adding(T), seed)
    for steps in settings.steps:
        for recipe in TRAINED:
            task = adding(steps)
            net = make(recipe, task, settings.hidden, seed)
            losses[recipe.name, steps] = train(
                net, task, fastrnn.Adam(recipe.lr), settings.updates, clip, seed
            )
            if steps == T:
                trained[recipe.name] = flow(net, task, seed)
    clipped, task = {}, adding(settings.clip_steps)
    for name, limits in CLIPS.items():
        net, optimizer = make(IDENTITY, task, settings.hidden, seed), fastrnn.SGD(SGD_LR, momentum=0.9)
        clipped[name] = train(net, task, optimizer, settings.clip_updates, limits, seed)
    copied, task = {}, copy_memory(settings.copy_steps)
    for recipe in TRAINED:
        net, optimizer = make(recipe, task, settings.copy_hidden, seed), fastrnn.Adam(min(recipe.lr, 1e-2))
        copied[recipe.name] = train(net, task, optimizer, settings.copy_updates, clip, seed)
    return {"start": start, "trained": trained, "adding": losses, "clipped": clipped, "copied": copied}


# ---- what is shown ----


def final(losses: np.ndarray) -> float:
    """The mean over the last updates; NaN if the net was lost."""
    return float(losses[-LAST:].mean())


def table(found: dict[str, Any], settings: Settings) -> str:
    """Numbers of everything."""
    T, K = settings.steps[-1], settings.copy_steps
    head = "".join(f"{f'T = {steps}':>11}" for steps in settings.steps)
    lines = [
        f"gradients, and mean squared error of adding after {settings.updates} updates (guessing: 0.1667)",
        f"{'':16}{'factor':>9}{'spectral':>10}{f'left after {T} steps':>23}{'loss':>10}",
        f"{'':16}{'a step':>9}{'radius':>10}{'start':>12}{'trained':>11}{head}",
    ]
    for name, measured in found["start"].items():
        line = f"{name:16}{measured.rate[0, 0]:9.3f}{measured.spectral_radius(T // 2):10.3f}"
        line += f"{left(measured.dh)[-1]:12.1e}"
        if name in found["trained"]:
            line += f"{left(found['trained'][name].dh)[-1]:11.1e}"
            line += "".join(f"{final(found['adding'][name, steps]):11.4f}" for steps in settings.steps)
        lines.append(line)
    lines += [
        "",
        f"adding, T = {settings.clip_steps}, relu with W = 1, SGD: largest loss, and loss at the end",
    ]
    for name, losses in found["clipped"].items():
        lines.append(f"{name:20}{np.nanmax(losses):12.3g}{final(losses):12.4f}")
    baseline = copy_memory(K).baseline
    lines += ["", f"copy memory, T = {K}: cross entropy a step at the end (without memory: {baseline:.4f})"]
    lines += [f"{name:20}{final(losses):12.4f}" for name, losses in found["copied"].items()]
    return "\n".join(lines)


def smooth(losses: np.ndarray, window: int = 51) -> np.ndarray:
    """Running median."""
    window = min(window, len(losses))
    return np.median(np.lib.stride_tricks.sliding_window_view(losses, window), axis=1)


CAPTION = (
    "a, b: norm of the gradient of a loss at the last step, in double precision; falling, it vanishes, rising, it "
    "explodes. c: the same net, data and seed;\nwithout clipping it explodes at once, and from then on it guesses. "
    "d, f: running medians of 51 updates; e: means of the last 100. Adam and Clip(norm=1), but for c."
)


def draw(found: dict[str, Any], settings: Settings, path: str) -> None:
    """Six panels: gradients, what clipping does, and learning.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    T, task = settings.steps[-1], copy_memory(settings.copy_steps)
    figure = Figure(figsize=(15, 9.6), layout="constrained")
    (a, b, c), (d, e, f) = figure.subplots(2, 3)
    gradients(a, found["start"], f"a  Gradients of adding, T = {T}, at the start")
    gradients(b, found["trained"], f"b  The same nets after {settings.updates} updates")
    for (name, losses), colour in zip(found["clipped"].items(), ("black", "#d17a22", "#0b8a8f")):
        c.plot(smooth(losses, 9), color=colour, linewidth=1, label=name)
    learning(c, f"c  Clipping: relu, W = 1, SGD, T = {settings.clip_steps}", 1 / 6)
    for recipe in TRAINED:
        curve = {"color": recipe.colour, "label": recipe.name}
        d.plot(smooth(found["adding"][recipe.name, T]), **curve)
        e.plot(
            settings.steps,
            [final(found["adding"][recipe.name, n]) for n in settings.steps],
            marker="o",
            **curve,
        )
        f.plot(smooth(found["copied"][recipe.name]), **curve)
    learning(d, f"d  Learning the adding problem, T = {T}", 1 / 6)
    learning(e, f"e  Adding after {settings.updates} updates", 1 / 6)
    e.set(xlabel="T, steps", xticks=settings.steps)
    learning(f, f"f  Learning copy memory, T = {settings.copy_steps}", task.baseline)
    f.set(ylabel="cross entropy a step, nats", yscale="linear", ylim=(0, 2 * task.baseline))
    for axes in (a, b, c, d, e, f):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9, loc="upper left" if axes is a else "upper right")
    for axes in (d, e):
        axes.set_ylim(5e-5, 10)
        axes.legend(fontsize=9, loc="upper center", ncol=3)
    figure.supxlabel(CAPTION, fontsize=11)
    figure.savefig(path, dpi=100)


def gradients(axes: Any, measured: dict[str, fastrnn.GradientFlow], title: str) -> None:
    """Curves of what is left of the gradient; of LSTM that of its memory c_t as well."""
    colours = {recipe.name: recipe.colour for recipe in (TANH, LARGE, IDENTITY, LSTM, GRU)}
    for name, flowing in measured.items():
        axes.plot(left(flowing.dh), color=colours[name], label=name)
        if flowing.dc is not None:
            axes.plot(left(flowing.dc), color=colours[name], linestyle=":", label=f"{name}, dL/dc$_t$")
    axes.axhline(1, color="black", linewidth=0.6)
    axes.set(title=title, xlabel="steps before the last one", yscale="log", ylim=(1e-24, 1e18))
    axes.set_ylabel("norm of dL/dh$_t$, share of that at the last step")


def learning(axes: Any, title: str, baseline: float) -> None:
    """A panel of losses."""
    axes.axhline(baseline, color="black", linewidth=1, linestyle="--", label="guessing")
    axes.set(title=title, xlabel="update", ylabel="mean squared error", yscale="log")


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few steps and updates: nothing is learned")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--figure", default="vanishing.png", help="file to write, or none (default: vanishing.png)"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Measures, prints the table, draws the figure."""
    args = arguments(argv)
    settings = QUICK if args.quick else FULL
    with np.errstate(all="ignore"):  # what explodes is what is shown
        found = measure(settings, args.seed)
        print(table(found, settings))
    if args.figure != "none":
        try:
            draw(found, settings, args.figure)
            print(f"\n{args.figure}")
        except ImportError:
            print("\nno figure: pip install fastrnn[plot]")
    return found


if __name__ == "__main__":
    main()
