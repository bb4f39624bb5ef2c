# SPDX-License-Identifier: MIT
"""What the tests of bad input share."""

import re

import numpy as np
import pytest

T, B, I, H = 4, 2, 3, 5  # noqa: E741
EITHER = (ValueError, TypeError)


def zeros(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


def refused(error, words, call, *arguments, **options):
    """The call raises error (one of two) and its message holds all words, each as a whole."""
    with pytest.raises(error) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    for word in words:
        pattern = re.escape(str(word))
        assert re.search(rf"(?<![\w.]){pattern}(?![\w])", message), (
            f"{word!r} is not in the message: {message}"
        )
    assert "\n" not in message
