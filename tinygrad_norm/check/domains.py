"""Domains of the values of arrays. Each is made from real values between about -4 and 4."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ..engine.operators import Array

# Values are drawn in eighths, so labels and masks count eighths.
MAKERS: dict[str, Callable[[Array], Array]] = {
    "real": np.array,
    "positive": lambda v: np.abs(v) + 0.5,
    "labels": lambda v: np.abs(np.round(8 * v)).astype(np.int64),
    "mask": lambda v: np.round(8 * v) % 2 == 1,
    "integers": lambda v: np.round(v).astype(np.int64),
    "simplex": lambda v: (np.abs(v) + 0.5) / (np.abs(v) + 0.5).sum(-1, keepdims=True),
    "unit": lambda v: _away(v) / np.sqrt((_away(v) ** 2).sum(-1, keepdims=True)),
    "sorted": lambda v: v[..., :1] + np.cumsum(np.abs(v) / 4 + 0.125, axis=-1),
    "triangular": lambda v: np.tril(v, -1) + np.eye(v.shape[-1]) * (np.abs(v) + 0.5),
    "spd": lambda v: MAKERS["triangular"](v / 4) @ np.swapaxes(MAKERS["triangular"](v / 4), -1, -2),
}
AXES = {"simplex": 1, "unit": 1, "sorted": 1, "triangular": 2, "spd": 2}
"""The number of last axes that a domain concerns. Two axes must have the same size."""
OF_ANY_SIZE = ("real", "positive", "sorted", "triangular", "spd")
"""Domains that are closed under multiplication by a positive number."""


def placed(values: Array, domain: str, sizes: Mapping[str, int], scale: float = 1.0) -> Array:
    """Return an array of a domain, scaled if the domain allows it. Labels need the ``sizes`` of the axes."""
    kind, _, of = domain.partition(":")
    array = MAKERS[kind](values)
    if of:
        array = array % max(int(of) if of.isdecimal() else sizes[of], 1)
    return np.asarray(array * scale if kind in OF_ANY_SIZE else array)


def _away(values: Array) -> Array:
    """Return rows none of which is zero."""
    first = np.arange(values.shape[-1]) == 0
    return np.asarray(values + np.where(np.any(values, axis=-1, keepdims=True), 0.0, first))
