"""The names of scopes, with the paths of modules and the parameters of named steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..engine.context import Scope
from ..engine.recording import ModuleScope, Step

_USUAL = {
    "padding": "0", "dilation": "1", "groups": "1", "smoothing": "0", "ddof": "0", "reduction": "mean",
    "approximate": "none",
}  # fmt: skip
"""Default values, which are not shown."""


class Name(str):
    """The name of a scope.

    Attributes
    ----------
    place : str
        The path of the module, such as ``"block1.norm"``. Empty for other scopes.
    said : str or None
        The parameters of a named step, in words. None for other scopes.
    """

    place: str = ""
    said: str | None = None

    def __new__(cls, name: str, place: str = "", said: str | None = None) -> Name:
        new = super().__new__(cls, name)
        new.place, new.said = place, said
        return new


def place(name: str) -> str:
    """Return the path of a scope's module, or "" for other scopes."""
    return name.place if isinstance(name, Name) else ""


def title(name: str) -> str:
    """Return the name of a scope with its path, such as ``"block1.norm: batch_norm"``."""
    return f"{place(name)}: {name}" if place(name) else name


def named(
    scopes: Sequence[Scope], paths: Mapping[int, tuple[int, ...]], over: Callable[[Any, Any], str]
) -> dict[int, Name]:
    """Return the names of the scopes that a picture shows, by number.

    Parameters
    ----------
    scopes : sequence of Scopes
        The scopes, outer ones before inner ones.
    paths : mapping
        For each operation of the forward pass, the numbers of the scopes around it.
    over : callable
        ``over(axis, x)`` returns the names of axes of a Tensor.

    Notes
    -----
    A module without a path, such as the outermost one, is not shown. A module around a single operation or scope is
    not shown either, and its path moves to the content. So a layer and its operation share one frame.
    """
    inside: dict[int, set[int]] = {}
    for operation, path in paths.items():
        for outer, inner in pairwise((*path, -1 - operation)):
            inside.setdefault(outer, set()).add(inner)
    places: dict[int, str] = {}
    shown: dict[int, Name] = {}
    for i, scope in enumerate(scopes):
        place = places.get(i, "")
        if isinstance(scope, ModuleScope):
            place, content = scope.place or place, inside.get(i, set())
            if len(content) == 1:
                places[min(content)] = place
            if not place or len(content) == 1:
                continue
        shown[i] = Name(scope.name, place, _said(scope, over) if isinstance(scope, Step) else None)
    return shown


def _said(step: Step, over: Callable[[Any, Any], str]) -> str:
    """Return the parameters of a step in words: ``"over n"``, ``"3×3, stride 2, padding 1"``."""
    words = []
    for name, value in step.static.items():
        if name == "axis":
            ndim = np.ndim(step.inputs[0])
            axes = range(ndim) if value is None else value if isinstance(value, tuple) else (value,)
            words.append(f"over {over(tuple(axis % max(ndim, 1) for axis in axes), step.inputs[0])}")
        elif name == "window":
            words.append("×".join(map(str, value)))
        elif value is not None and (text := _short(value)) != _USUAL.get(name):
            words.append(f"{name} {text}")
    return ", ".join(words)


def _short(value: Any) -> str:
    """Return a number in short form. Several equal numbers become one."""
    if isinstance(value, tuple):
        texts = [*map(_short, value)]
        return texts[0] if len(set(texts)) == 1 else ",".join(texts)
    return f"{value:g}" if isinstance(value, float) else str(value)
