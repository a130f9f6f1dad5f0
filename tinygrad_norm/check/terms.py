"""Terms and factors by which a gradient differs from the right one: functions of inputs, weights, sums, penalties."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np

from ..engine.operators import Array
from .facts import Evidence, Said, aligned_to, close, compared, named_axes, named_values, subsets


def of_elementwise(e: Evidence) -> Said:
    """Guess the factor of each entry: a function of the input or the output, or another input."""
    got, want = e.got.reshape(len(e.got), -1), e.want.reshape(len(e.got), -1)
    diagonal = _is_diagonal(e)
    sides = [(0, e.x.shape)] + ([(1, e.g.shape)] if e.whole and not diagonal else [])
    if diagonal:
        yield from _of_derivative(e, np.diag(got).reshape(e.x.shape), np.diag(want).reshape(e.x.shape))
    for axis, shape in sides:
        sizes = (want * want).sum(axis=axis, keepdims=True)
        factor = (got * want).sum(axis=axis, keepdims=True) / np.where(sizes > 0, sizes, 1)
        model = (factor * want).reshape(e.want.shape)
        if not e.explained_by(model):
            continue
        known = (sizes > 1e-12 * sizes.max()).reshape(shape)
        for words, term in terms(e, shape):
            for power, how in ((1, "multiplied"), (-1, "divided")):
                constant = _constant(factor.reshape(shape)[known] / np.broadcast_to(term, shape)[known] ** power)
                if constant is not None:
                    told = "an extra factor" if power == 1 else "a missing factor"
                    yield f"it is the right gradient {how} by {words}{constant}: {told}", model
    if diagonal:
        yield from _of_missing_term(e, np.diag(got).reshape(e.x.shape), np.diag(want).reshape(e.x.shape))
        words = "the local derivative is wrong: it is elementwise, as it should be, but a factor or a term of the "
        yield f"{words}derivative is missing or wrong (of the chain rule or the product rule)", e.got


def _is_diagonal(e: Evidence) -> bool:
    """Return whether the gradient and the right gradient are elementwise."""
    if not e.whole or e.g.shape != e.x.shape:
        return False
    return not any((m - np.diag(np.diag(m))).any() for m in (j.reshape(len(j), -1) for j in (e.got, e.want)))


def _of_derivative(e: Evidence, got: Array, want: Array) -> Said:
    """Guess at a wrong elementwise derivative."""
    if np.ptp(want) < 1e-6 * np.abs(want).max():
        return
    if close(got, np.ones_like(got)):
        yield "the cotangent is passed on unchanged: the local derivative (a factor) is missing", e.got
    if not got[want != 0].any():
        yield "it is zero where it should not be, and not zero where it should be: a mask is inverted", e.got
    for power, words in (
        (2.0, "squared"),
        (-1.0, "inverted (1 / derivative): multiply by a factor instead of dividing by it, or the reverse"),
        (0.5, "under a square root"),
    ):
        if close(got, np.abs(want) ** power * (1 if power == 2 else np.sign(want))):
            yield f"the local derivative is {words}", e.got
    here = [(words, term) for words, term in terms(e, e.x.shape) if np.ptp(term) > 1e-6 * np.abs(term).max()]
    right = [f", but the derivative is {w}{c}" for w, t in here if (c := _constant(want / t)) is not None]
    for words, term in here:
        constant = _constant(got / term)
        if constant is not None:
            for derivative in (*right, ", which is not the derivative"):
                yield f"it is the cotangent times {words}{constant}{derivative}: a wrong factor", e.got


def _of_missing_term(e: Evidence, got: Array, want: Array) -> Said:
    """Guess that a term of an elementwise derivative is missing, such as one of the product rule."""
    of_x = [(f"{e.name} * {words}", e.x * term) for words, term in terms(e, e.x.shape)]
    if np.abs(want - got).max() < 1e-3 * np.abs(want).max():
        return
    for words, term in [("1", np.ones_like(got)), *terms(e, e.x.shape), *of_x]:
        constant = _constant((want - got) / term)
        if constant is not None:
            yield f"a term of the derivative is missing (or wrong): {words}{constant} times the cotangent", e.got


def _constant(ratio: Array) -> str | None:
    """Return a description of a factor, if it is the same everywhere and there are enough entries."""
    if ratio.size < 3 or not np.isfinite(ratio).all() or np.ptp(ratio) > 1e-5 * np.abs(ratio).max():
        return None
    value = float(ratio.mean())
    return "" if abs(value - 1) < 1e-5 else " (negative)" if abs(value + 1) < 1e-5 else f" (times {value:.4g})"


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "{}": lambda v: v, "{}**2": lambda v: v**2, "the square root of {}": lambda v: np.sqrt(np.abs(v)),
    "1 - {}": lambda v: 1 - v, "1 + {}": lambda v: 1 + v, "1 - {}**2": lambda v: 1 - v**2,
    "1 + {}**2": lambda v: 1 + v**2, "{} * (1 - {})": lambda v: v * (1 - v), "{} * (1 + {})": lambda v: v * (1 + v),
    "exp({})": np.exp, "exp(-{}**2 / 2)": lambda v: np.exp(-v * v / 2), "log({})": lambda v: np.log(np.abs(v)),
    "|{}|": np.abs, "sin({})": np.sin, "cos({})": np.cos, "tanh({})": np.tanh,
    "1 - tanh({})**2": lambda v: 1 - np.tanh(v) ** 2, "sigmoid({})": lambda v: 1 / (1 + np.exp(-v)),
    "the derivative of sigmoid({})": lambda v: np.exp(-v) / (1 + np.exp(-v)) ** 2,
}  # fmt: skip
STATISTICS: dict[str, Callable[..., Any]] = {
    "standard deviation": np.std, "variance": np.var, "sum": np.sum,
    "norm": lambda x, **over: (x**2).sum(**over) ** 0.5,
    "squared norm": lambda x, **over: (x**2).sum(**over),
}  # fmt: skip


def terms(e: Evidence, shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    """Yield candidates for a factor: statistics of the input, and functions of the inputs and of the output."""
    for axes in subsets(len(shape)) if e.x.shape == shape else ():
        for words, statistic in STATISTICS.items():
            value = np.broadcast_to(statistic(e.x, axis=axes, keepdims=True), shape)
            yield f"the {words} of {e.name} over {named_axes(axes)}", value
    for name, a in named_values(e):
        for v in aligned_to(a, shape):
            if v.size > 1 and np.ptp(v) > 0:
                yield from ((words.replace("{}", name), function(v)) for words, function in FUNCTIONS.items())


def of_other_inputs_factors(e: Evidence) -> Said:
    """Guess that a weight is outside a sum where it should be inside, is missing, or appears twice."""
    if not e.whole:
        return
    for name, a in named_values(e)[:-1]:
        if a is e.x or a.size < 2:
            continue
        for inside in aligned_to(a, e.g.shape):
            weight = inside.reshape(-1, *(1,) * e.x.ndim)
            yield f"the factor {name} is missing: it is the right gradient for {name} = 1", e.want / weight
            yield f"the factor {name} appears twice", e.want * weight
            for outside in aligned_to(a, e.x.shape):
                words = f"the factor {name} (a weight) is outside the sums (means) over the cotangent, not inside"
                yield words, e.want / weight * outside


def of_cotangent_sums(e: Evidence) -> Said:
    """Guess that a gradient or its mismatch is the cotangent or a sum of it, alone or times an input."""
    if not e.whole:
        return
    units = e.cotangents.reshape(-1, *e.g.shape)
    for count in range(e.g.ndim + 1):
        for axes in combinations(range(e.g.ndim), count):
            over = f"the sum of the cotangent over {named_axes(axes)}" if axes else "the cotangent"
            total = units.sum(axis=tuple(a + 1 for a in axes))
            if total[0].size != e.x.size:
                continue
            total = total.reshape(e.want.shape)
            alone = "alone: a factor is missing, or the gradient of another input was returned"
            if not axes:
                alone = "itself, passed on unchanged: the local derivative (a factor) or every other path is missing"
            yield f"it is {over} {alone}", total
            direct = "a direct (identity, skip, residual or additive) path"
            yield f"{over} is missing from it: {direct}", e.want - total
            yield f"it contains {over} once too often: {direct}", e.want + total
            yield f"it contains {over} with the wrong sign: {direct}", e.want - 2 * total
            for name, a in named_values(e) if axes else ():
                for v in aligned_to(a, e.g.shape):
                    words = f"it is {over}, multiplied by {name} first: a wrong factor"
                    yield words, total * v.reshape(-1, *(1,) * e.x.ndim)


def of_penalty(e: Evidence) -> Said:
    """Guess that a multiple of the input is missing from the gradient of a loss, or should not be there.

    It must be the same multiple at all points, perhaps divided by the batch size.
    """
    batch = next((len(p) for p in e.points if p.ndim > 1), 1)
    for sign, flipped in ((1, ""), (-1, ", and the sign of the rest is flipped")) if e.g.size == 1 else ():
        times = float(((e.got - sign * e.want)[0] * e.x).sum() / ((e.x * e.x).sum() or 1))
        for count, over in ((1, ""), (batch, " / batch size")) if times else ():
            words = f"a multiple of {e.name} is missing, or not needed: {times * count:.4g} * {e.name}{over}"
            yield f"{words}, as with a penalty (regularization){flipped}", sign * e.want + times * e.x


def of_added_terms(e: Evidence) -> Said:
    """Guess that a multiple of another array is missing, the same for all rows or one for each."""
    for name, v in compared(e) if e.g.size == 1 else ():
        if name == e.name or v.ndim == 0 or v.shape[-1] < 3 or np.ptp(v) == 0:
            continue
        for axes in (tuple(range(v.ndim)), (v.ndim - 1,)):
            over, squares = tuple(a + 1 for a in axes), (v * v).sum(axes, keepdims=True)
            for base, words, told in (
                (0 * e.want, "it is", "alone: the factor is wrong, or other terms are missing"),
                (e.want, "the mismatch is", "(in each row): this term is missing"),
            ):
                times = ((e.got - base) * v).sum(over, keepdims=True) / squares
                yield f"{words} a multiple of {name} {told}", base + times * v


def of_softmax(e: Evidence) -> Said:
    """Guess which part of ``p * (u - (p * u).sum())``, the gradient of a softmax p with cotangent u, is left."""
    for axes in subsets(e.x.ndim):
        over = tuple(a + 1 for a in axes)
        p = np.exp(e.x - e.x.max(axes, keepdims=True))
        p = p / p.sum(axes, keepdims=True)
        for local, words in (
            (p * (1 - p), "softmax is differentiated elementwise, p * (1 - p): its Jacobian mixes entries"),
            (p, "the sum (mean) over the row in the derivative of softmax, p * (u - sum(p * u)), is missing or wrong"),
            (np.ones_like(p), "it is the gradient of the probabilities: the derivative of softmax is missing"),
        ):
            u = e.got / local
            if close(p * (u - (p * u).sum(over, keepdims=True)), e.want, 1e-6):
                yield f"{words} ({named_axes(axes)})", e.got
