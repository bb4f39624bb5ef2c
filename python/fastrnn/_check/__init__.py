# SPDX-License-Identifier: MIT
"""All validation of what users pass, and all its messages.

A check returns the argument in the form the kernels take, converted where that is allowed, or raises ValueError
(shapes and values) or TypeError (types and dtypes) with a message that names both sides. Nothing is changed before
every check of a call has passed.
"""

from .layers import *  # noqa: F403
from .models import *  # noqa: F403
from .values import *  # noqa: F403
