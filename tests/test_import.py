# SPDX-License-Identifier: MIT
"""`import fastrnn` brings what runs layers; what trains and saves models comes with the first use of its name."""

import pickle
import pkgutil
import pydoc
import subprocess
import sys

import fastrnn
import pytest

# All of our own that an import may load, and that layers need from then on
EAGER = {
    "fastrnn",
    "fastrnn._check",
    "fastrnn._check.layers",
    "fastrnn._check.values",
    "fastrnn._core",
    "fastrnn.control",
    "fastrnn.layers",
    "fastrnn.options",
    "fastrnn.parameters",
    "fastrnn.recurrent",
    "fastrnn.results",
    "fastrnn.runtime",
    "fastrnn.shapes",
    "fastrnn.signatures",
    "fastrnn.streaming",
}

# Of others, what once came along (json, pathlib, secrets with hashlib and random) or would cost as much
HEAVY = {
    "argparse",
    "asyncio",
    "concurrent.futures",
    "hashlib",
    "importlib.metadata",
    "json",
    "logging",
    "multiprocessing",
    "numpy.random",
    "numpy.testing",
    "pathlib",
    "random",
    "safetensors",
    "secrets",
    "sklearn",
    "subprocess",
    "tempfile",
    "tqdm",
    "unittest",
    "urllib",
}

# Taken from the files, so that a module that is in no table is missed; two are run, not used, and what needs another
# package is imported by its own name
MODULES = {module.name for module in pkgutil.iter_modules(fastrnn.__path__)} - {
    "__main__",
    "selftest",
    "sklearn",
}
LATER = [*fastrnn._LATER, *sorted(name for name in MODULES if f"fastrnn.{name}" not in EAGER)]


def fresh(script, **options):
    """What a new process prints that runs the script with nothing imported but `sys`."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import sys\n" + script],
        capture_output=True,
        timeout=120,
        **options,
    )
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout.decode().split()


def test_an_import_loads_what_layers_need_and_no_more():
    """Beyond what NumPy brings, which differs from version to version."""
    loaded = fresh(
        "import numpy; before = set(sys.modules); import fastrnn; print(*set(sys.modules) - before)"
    )
    assert {name for name in loaded if name.startswith("fastrnn")} == EAGER
    assert not HEAVY.intersection(loaded)


def test_layers_never_load_the_rest():
    script = """
import copy
import numpy as np
import fastrnn
for layer in (fastrnn.RNN, fastrnn.LSTM, fastrnn.GRU):
    net = copy.deepcopy(layer(2, 3, seed=0))
    net.load_state_dict(net.state_dict())
    y, _, tape = net.forward(np.ones((4, 1, 2), "f"), lengths=[3], reset=np.zeros((4, 1), bool))
    net.backward(tape, y)
    net.step(np.ones(2, "f"))
with fastrnn.threads(1), fastrnn.using("portable"):
    pass
dir(fastrnn)
print(*(name for name in sys.modules if name.startswith("fastrnn")))
"""
    assert set(fresh(script)) == EAGER


@pytest.mark.parametrize("name", LATER)
def test_what_comes_later_can_come_first(name):
    """Each name by itself in a new process, so that no other has imported its module."""
    fresh(f"import fastrnn; assert fastrnn.{name} is fastrnn.{name}; from fastrnn import {name}")


def test_every_public_name_is_there_and_listed():
    for name in fastrnn.__all__:
        assert hasattr(fastrnn, name), name
    assert set(fastrnn._LATER) < set(fastrnn.__all__)
    listed = set(fresh("import fastrnn; print(*dir(fastrnn))"))
    assert listed >= {*fastrnn.__all__, *MODULES, "__version__"}


def test_a_star_brings_all_that_is_public():
    brought = fresh("from fastrnn import *; print(*globals())")
    assert set(fastrnn.__all__) <= set(brought)


def test_a_name_that_is_used_is_looked_up_once():
    fresh("import fastrnn; fastrnn.Adam; assert vars(fastrnn)['Adam'] is fastrnn.optim.Adam")


@pytest.mark.parametrize("name", ["Wrong", "adam", "__wrong__"])
def test_a_wrong_name(name):
    with pytest.raises(AttributeError, match=f"'fastrnn' has no attribute '{name}'"):
        getattr(fastrnn, name)
    with pytest.raises(ImportError, match=f"{name}.*fastrnn"):
        exec(f"from fastrnn import {name}")


def test_a_wrong_check():
    with pytest.raises(AttributeError, match=r"_check.*has no attribute 'wrong'"):
        fastrnn._check.wrong  # noqa: B018


def test_a_model_is_unpickled_before_its_name_is_used():
    model = fastrnn.NToN("gru", fastrnn.Embedding(5, 2), 3, 2, seed=0)
    script = "import fastrnn, pickle; print(type(pickle.load(sys.stdin.buffer)[0]) is fastrnn.NToN)"
    assert fresh(script, input=pickle.dumps((model, fastrnn.Adam(), fastrnn.Clip(norm=1.0)))) == ["True"]


def test_help_tells_of_all():
    text = pydoc.render_doc(fastrnn, renderer=pydoc.plaintext)
    for name in fastrnn.__all__:
        assert name in text, name
