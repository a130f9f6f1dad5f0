"""What a function calls its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from keyword import iskeyword
from typing import Any

from .primitives import RESERVED


def parameter_names(fn: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> list[str]:
    """Return a name for each argument, which a kernel can use: the parameter's, if it has one."""
    parameters = _parameters(fn)
    found: list[str] = []
    for i, name in enumerate([None] * len(args) + list(options)):
        if name is None:
            own = parameters[i] if i < len(parameters) else None
            positional = own and own.kind in (own.POSITIONAL_ONLY, own.POSITIONAL_OR_KEYWORD)
            name = own.name if own and positional else "x"  # noqa: PLW2901
        stem = name if name.isascii() and not iskeyword(name) else "x"
        stem = f"{stem}_" if stem in RESERVED else stem
        stem = f"given_{stem}" if stem.startswith(("g_", "saved_")) else stem
        number, unique = 2, stem
        while unique in found:
            unique, number = f"{stem}{number}", number + 1
        found.append(unique)
    return found


def numbers_of(fn: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers that a function is given or has as defaults, by the names of its parameters."""
    try:
        bound = inspect.signature(fn).bind(*args, **options)
    except (TypeError, ValueError):
        return {}
    bound.apply_defaults()
    return {name: x for name, x in bound.arguments.items() if type(x) is float and name.isascii()}


def _parameters(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return []
