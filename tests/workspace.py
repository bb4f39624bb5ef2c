# SPDX-License-Identifier: MIT
"""What the tests of max_workspace share."""

import re

import pytest


def least_workspace(net, x, **masks):
    """The fewest bytes that a call can do with, as its error message names them."""
    with pytest.raises(ValueError) as caught:
        net.forward(x, max_workspace=1, **masks)
    found = re.fullmatch(r"max_workspace is 1 bytes, but .* at least (\d+)( bytes)?", str(caught.value))
    assert found, str(caught.value)
    return int(found[1])
