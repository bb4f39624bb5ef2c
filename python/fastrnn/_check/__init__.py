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
    from .fitting import *  # noqa: F403
    from .models import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        """A check of models.py or fitting.py, imported here at their first use: layers need none of them."""
        import importlib

        modules = [importlib.import_module(f"{__name__}.{module}") for module in ("models", "fitting")]
        check = getattr(modules[0], name, None) or getattr(modules[1], name)
        globals()[name] = check
        return check
