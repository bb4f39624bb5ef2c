# SPDX-License-Identifier: MIT
"""What all tests share: the targets of this machine, the two types, numbers of threads, and what CUDA tests run on."""

import os
import sys
from pathlib import Path

import fastrnn
import pytest
from shapes import CELLS
from targets import CUDA, using

TARGETS = fastrnn.available()
RESTARTED = "FASTRNN_TESTS_EMULATED"


def pytest_addoption(parser):
    parser.addoption(
        "--cuda",
        choices=["none", "emulated", "device"],
        default="none",
        help="what CUDA tests run on: nothing, the emulator in tools/ptxemu, or the GPU with the installed library",
    )

    parser.addoption(
        "--every", type=int, default=1, metavar="N",
        help="run every N-th of the tests that take a target: an emulator runs them a thousand times slower",
    )  # fmt: skip


def pytest_collection_modifyitems(config, items):
    """Leaves out what --every leaves out."""
    every, on_target = config.getoption("--every"), {"target", "fast_target"}
    sampled = [item for item in items if on_target.intersection(getattr(item, "fixturenames", ()))]
    left_out = {item for number, item in enumerate(sampled) if number % every}
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = [item for item in items if item not in left_out]


def cuda_mode(config):
    """What --cuda says: "none", "emulated" or "device"."""
    return config.getoption("--cuda")


def pytest_cmdline_main(config):
    """Under --cuda=emulated, begin anew in the emulator's environment: the loader has read that of this process."""
    if cuda_mode(config) != "emulated" or RESTARTED in os.environ:
        return
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
    import cuda_emulation

    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)  # the next process inherits stdin, stdout and stderr
    try:
        variables = cuda_emulation.build()
    except cuda_emulation.EmulationError as error:
        raise pytest.UsageError(f"--cuda=emulated: {error}") from error
    print(
        f"--cuda=emulated: pytest begins anew with LD_LIBRARY_PATH={variables['LD_LIBRARY_PATH']}", flush=True
    )
    os.execve(
        sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **variables, RESTARTED: "1"}
    )


def pytest_generate_tests(metafunc):
    """The targets of a run: those of the processor, or under --cuda the GPU alone."""
    here = TARGETS if cuda_mode(metafunc.config) == "none" else [CUDA]
    for name, chosen in (("target", here), ("fast_target", [name for name in here if name != "reference"])):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, chosen, indirect=True)


@pytest.fixture
def target(request):
    """The name of every target that runs here; nets built inside the test use it."""
    with using(request.param):
        yield request.param


@pytest.fixture
def fast_target(request):
    """Every target but the reference, which the others are held against."""
    with using(request.param):
        yield request.param


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(params=[1, 2, 7])
def threads(request):
    """Runs the test with that many threads."""
    with fastrnn.threads(request.param):
        yield request.param


@pytest.fixture(params=CELLS)
def cell(request):
    return request.param
