# SPDX-License-Identifier: MIT
"""What all tests share: the targets of this machine, the two types, numbers of threads."""

import fastrnn
import pytest
from shapes import CELLS

TARGETS = fastrnn.available()


@pytest.fixture(params=TARGETS)
def target(request):
    """The name of every target that runs here; nets built inside the test use it."""
    with fastrnn.using(request.param):
        yield request.param


@pytest.fixture(params=[name for name in TARGETS if name != "reference"])
def fast_target(request):
    """Every target but the reference, which the others are held against."""
    with fastrnn.using(request.param):
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
