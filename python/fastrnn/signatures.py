# SPDX-License-Identifier: MIT
"""What `help` and editors show of a function that takes keyword arguments by **: all of them, with their defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


def of_keywords(function: Callable[..., Any]) -> dict[str, Parameter]:
    """The keyword-only parameters of another function."""
    found = signature(function).parameters
    return {name: p for name, p in found.items() if p.kind is Parameter.KEYWORD_ONLY}


def of_options(options: type, defaults: Mapping[str, Any]) -> dict[str, Parameter]:
    """Parameters for the names of a TypedDict."""
    kinds = {name: getattr(kind, "__forward_arg__", kind) for name, kind in options.__annotations__.items()}
    return {
        name: Parameter(name, Parameter.KEYWORD_ONLY, default=defaults[name], annotation=kind)
        for name, kind in kinds.items()
    }


def shows(keywords: Mapping[str, Parameter]) -> Callable[[_Function], _Function]:
    """A decorator for a function that takes these by **; those that it names itself stay its own."""

    def tell(function: _Function) -> _Function:
        own = signature(function)
        kept = {name: p for name, p in own.parameters.items() if p.kind is not Parameter.VAR_KEYWORD}
        more = [p for name, p in keywords.items() if name not in kept]
        function.__signature__ = own.replace(parameters=[*kept.values(), *more])  # type: ignore[attr-defined]
        return function

    return tell
