"""The effect of rounding on a function, measured by moving each result in its last place at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..engine.operators import Array
from .scales import copied

EXACT = {
    *(np.negative, np.positive, np.absolute, np.fabs, np.conjugate, np.copysign, np.sign, np.maximum, np.minimum),
    *(np.fmax, np.fmin, np.floor, np.ceil, np.trunc, np.rint, np.ldexp, np.spacing, np.nextafter),
}
"""Functions whose results are not rounded."""


RNG = np.random.default_rng(0)


class Rounded(np.ndarray):
    """An array whose arithmetic rounds at random: Monte Carlo arithmetic (Parker, Pierce and Eggert 2000).

    Runs of a function on such arrays differ by the effect of rounding inside it, including cancellation and absorption.
    NumPy functions that are not universal functions round as usual.
    """

    rng: np.random.Generator

    def __array_finalize__(self, made_from: Any) -> None:
        """Pass on the random generator."""
        self.rng = getattr(made_from, "rng", RNG)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        """Compute as NumPy does, and move the results, or the terms of a sum, in their last places."""
        sums = (method != "__call__" or ufunc.signature is not None) and ufunc not in EXACT
        changed = 1 if method == "at" else 0  # the array that is added to, in place
        inputs = (*map(_plain, inputs[:changed]), *map(self._moved if sums else _plain, inputs[changed:]))
        out = keywords.get("out", ())
        if out:
            keywords["out"] = tuple(map(_plain, out))
        returned = getattr(ufunc, method)(*inputs, **keywords)
        if returned is None:
            return None
        several = isinstance(returned, tuple)
        results = returned if several else (returned,)
        if not sums and ufunc not in EXACT:
            results = tuple(map(self._moved, results))
        if out:
            for target, result in zip(keywords["out"], results, strict=True):
                target[...] = result
            results = out
        else:
            results = tuple(map(self._own, results))
        return results if several else results[0]

    def _own(self, values: Any) -> Rounded:
        result = np.asarray(values).view(Rounded)
        result.rng = self.rng
        return result

    def _moved(self, values: Any) -> Any:
        return moved(_plain(values), self.rng) if isinstance(values, np.ndarray | np.generic) else values


def rounded(x: Array, rng: np.random.Generator) -> Array:
    """Return a copy whose arithmetic rounds at random."""
    result = copied(x).view(Rounded)
    result.rng = rng
    return result


def at_random(run: Callable[[list[Array]], Any], arrays: Sequence[Array], rng: np.random.Generator) -> Any:
    """Run code on arrays whose arithmetic rounds at random, or on plain arrays if it accepts only these."""
    try:
        return run([rounded(x, rng) for x in arrays])
    except Exception:  # whatever the code raises for another class
        return run([*arrays])


def _plain(x: Any) -> Any:
    return np.asarray(x) if isinstance(x, Rounded) else x


def moved(values: Array, rng: np.random.Generator) -> Any:
    """Return values that are randomly changed by up to about a unit in the last place. Complex parts differ."""
    if values.dtype.kind == "c":
        return moved(values.real, rng) + 1j * moved(values.imag, rng)
    if values.dtype not in (np.float32, np.float64):
        return values
    places = 3 * (rng.random(values.shape, values.dtype) - 0.5)
    return values * (1 + np.finfo(values.dtype).eps * places)
