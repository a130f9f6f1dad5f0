"""What a function calls its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from keyword import iskeyword
from typing import Any

import numpy as np

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


def example(fn: Callable[..., Any]) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Return the arguments of a typical call of a norm: images, or rows of features."""
    images, rows, c = (np.broadcast_to(np.float32(0), shape) for shape in ((4, 6, 5, 5), (4, 6), (6,)))
    affine = {"weight": c, "bias": c}
    calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "batch_norm": ((images,), affine),
        "instance_norm": ((images,), affine),
        "group_norm": ((images, 2), affine),
        "layer_norm": ((rows, 6), affine),
        "rms_norm": ((rows, 6), {"weight": c, "eps": 1e-5}),
        "normalize": ((images, "n c h w -> c"), {}),
    }
    is_norm = getattr(fn, "__module__", "").endswith(".norm.functional")
    return calls.get(fn.__name__) if is_norm else None
