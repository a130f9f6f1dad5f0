"""Diagnoses of faults other than wrong values: shapes, NaN and inf, calls that differ, lost linearity."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..engine.operators import Array
from .facts import Evidence, close, named_axes, subsets


def by_shape(e: Evidence) -> Iterator[str]:
    """Guess why the shape of a gradient differs from that of its input, from the values if they fit."""
    x, got = e.x, e.pulled(e.g)
    want = e.right_for(e.g)
    for dropped in subsets(got.ndim):
        total = got.sum(axis=dropped)
        if total.size == x.size and close(total.reshape(x.shape), want):
            if all(got.shape[a] == 1 for a in dropped):
                yield f"its values are right, but it keeps {named_axes(dropped)} of size 1: keepdims left over"
            else:
                cotangent = "it has the shape of the cotangent: " if got.shape == e.g.shape else ""
                yield f"{cotangent}a sum over {named_axes(dropped)} is missing (an unreduced broadcast)"
    found = _repeated(x.shape, got.shape)
    if got.size == x.size and got.ndim != x.ndim:
        yield "it has as many elements as the input: a reshape is missing, or an axis of size 1 (keepdims) is left over"
    elif got.shape == x.shape[::-1]:
        yield "it has the reversed shape of the input: transposed"
    elif found:
        axes = f"over {named_axes(found[0])}" if len(found) == 1 else "over the axes"
        cotangent = "the shape of the cotangent" if got.shape == e.g.shape else f"the shape {got.shape}"
        yield f"it has {cotangent}: a sum is missing {axes} along which the input was repeated (an unreduced broadcast)"
    others = [name for name, p in zip(e.subject.names, e.points, strict=False) if p.shape == got.shape]
    if others:
        yield f"it has the shape of {others[0]}: the gradients are returned in the wrong order (swapped)"
    if got.size < x.size and _repeated(got.shape, x.shape):
        yield "it has fewer axes than the input: it was summed over an axis that the input has"


def _repeated(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the sets of axes along which an array of the old shape may have been broadcast to the new shape."""
    squeezed = [size for size in old if size != 1]
    return [
        axes for axes in subsets(len(new)) if [n for i, n in enumerate(new) if i not in axes and n != 1] == squeezed
    ]


def where_not_finite(e: Evidence) -> str:
    """Return at which values of its input a gradient is not finite."""
    bad, what = ~np.isfinite(e.pulled(e.g)), "it is not finite (nan or inf) where"
    values = e.x[bad] if bad.shape == e.x.shape else np.ones(1)
    if (values == 0).all():
        return f"{what} the input is 0: a division, a logarithm, a square root or a power at 0 (guard it, as with eps)"
    if (values <= 0).all():
        return (
            f'{what} the input is negative: a logarithm or a root; if it is never negative, pass domains=("positive",)'
        )
    if np.abs(values).min() > 50:
        return f"{what} the input is large: an overflow, as in exp"
    if any(_has_constant_rows(p) for p in e.points if p.dtype.kind == "f"):
        return (
            f"{what} values are all equal: a division by a variance, standard deviation or norm of 0 (eps is missing)"
        )
    return f"{what} the right gradient is finite: a division, square root or logarithm at 0, or an overflow"


def _has_constant_rows(p: Array) -> bool:
    return any(bool((np.ptp(p, axis=axis) == 0).any()) for axis in range(p.ndim) if p.shape[axis] > 1)


def by_calls(e: Evidence) -> str:
    """Distinguish a gradient that accumulates over calls from a random one."""
    one, two, three = (e.pulled(e.g) for _ in range(3))
    if close(three - two, two - one):
        return (
            "each call adds the same amount: it accumulates over calls, in an array that is kept and never reset to 0"
        )
    return "it differs from call to call with the same inputs: random numbers, or a state that is kept between calls"


def by_cotangents(e: Evidence) -> str:
    """Return how a gradient depends on the cotangent, if not linearly."""
    g = e.g
    here, zero, twice, back = (e.pulled(c) for c in (g, 0 * g, 2 * g, -g))
    as_if_one = e.whole and close(here, e.right_for(np.ones(g.shape)))
    like_one = ", as if g were 1" if as_if_one else ""
    affine = bool(zero.any()) and close(twice - zero, 2 * (here - zero))
    guesses = {
        f"it does not depend on the cotangent{like_one}: the factor g (upstream) is missing": close(here, zero),
        "a term is added that does not depend on the cotangent (a penalty, a regularization, a constant)": affine,
        "it is quadratic in the cotangent: g is squared, or multiplied in twice": close(twice, 4 * here),
        "it is the same for g and -g: the absolute value (or square) of the cotangent is taken": close(back, here),
        "it does not change with the size of g: the sign of g is taken, or g is normalized": close(twice, here),
        "it treats positive and negative cotangents g differently: a mask uses the sign of g": close(twice, 2 * here),
        "it is not linear in the cotangent: g goes through a nonlinear function (a clip, a square, a power)": True,
    }  # fmt: skip
    return next(words for words, fits in guesses.items() if fits)
