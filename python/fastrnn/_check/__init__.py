# SPDX-License-Identifier: MIT
"""All validation of what users pass, and all its messages.

A check returns the argument in the form the kernels take, converted where that is allowed, or raises ValueError
(shapes and values) or TypeError (types and dtypes) with a message that names both sides. Nothing is changed before
every check of a call has passed.
"""

from typing import TYPE_CHECKING

from .layers import *  # noqa: F403
from .values import *  # noqa: F403

if TYPE_CHECKING:
    from .crf import *  # noqa: F403
    from .decoding import *  # noqa: F403
    from .devices import *  # noqa: F403
    from .fitting import *  # noqa: F403
    from .forbidden import *  # noqa: F403
    from .models import *  # noqa: F403
    from .producers import *  # noqa: F403
    from .readers import *  # noqa: F403
    from .stepwise import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        """A check of a module that is imported here at its first use: layers need none of it."""
        import importlib

        for module in (
            "devices",
            "models",
            "readers",
            "producers",
            "stepwise",
            "decoding",
            "crf",
            "forbidden",
            "fitting",
        ):
            check = getattr(importlib.import_module(f"{__name__}.{module}"), name, None)
            if check is not None:
                globals()[name] = check
                return check
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
