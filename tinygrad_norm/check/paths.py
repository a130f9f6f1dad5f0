"""Paths through statistics: what a mismatch along constants, x̂, x or the output says of means, variances and norms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np

from ..engine.operators import Array
from .facts import Evidence, close, factors, named_axes, subsets

Said = Iterator[tuple[str, Array]]
Rows = Callable[[Array], Array]
MISSING, UNKNOWN = "is missing", "is missing or wrong"


def _views(x: Array) -> Iterator[tuple[str, Rows]]:
    """Yield ways to see an array as rows that may share statistics: over some axes, or over groups of channels."""
    for axes in subsets(x.ndim):
        yield f"over {named_axes(axes)}", partial(_as_rows, axes=axes)
    if x.ndim >= 2:
        for groups in range(2, x.shape[1]):
            if x.shape[1] % groups == 0:
                yield "over each group of channels", lambda a, n=groups: a.reshape(len(a) * n, -1)  # type: ignore[misc]


def _as_rows(a: Array, axes: Sequence[int]) -> Array:
    kept = [i for i in range(a.ndim) if i not in axes]
    return a.transpose(*kept, *axes).reshape(math.prod(a.shape[i] for i in kept), -1)


def of_paths(e: Evidence) -> Said:
    """Guess what is missing or too much: a constant along rows (a mean's path), or x̂ (a variance's), or both."""
    both: list[tuple[str, Array]] = []
    for name, view in _views(e.x):
        rows, places = view(e.x), view(np.arange(e.x.size).reshape(e.x.shape))
        if rows.shape[1] < 3 or not (np.ptp(rows, axis=1) > 1e-9 * np.abs(rows).max()).all():
            continue
        x_hat = _unit(rows - rows.mean(axis=1, keepdims=True))
        ones, ray = np.ones_like(rows), _unit(rows)
        paths = Paths(e, places)

        model = partial(_with_fit, e, places)
        fits = {words: model(*along) for words, along in (("1", [ones]), ("x̂", [x_hat]), ("x", [ray]))}
        fits = {words: fit for words, fit in fits.items() if e.explained_by(fit)}
        for size in paths.sizes(ones, x_hat, of=0) if "1" in fits else ():
            yield f"the mismatch is constant {name}, as when the path through the mean {size}", fits["1"]
        for size in paths.sizes(ones, x_hat, of=1) if "x̂" in fits else ():
            words = f"the mismatch is parallel to x̂ {name}, as when the path through the variance {size}"
            yield words, fits["x̂"]
        for size in paths.sizes(ray, of=0) if "x" in fits else ():
            yield f"the mismatch is parallel to x {name}, as when the path through the norm of x {size}", fits["x"]
        if e.y.shape == e.x.shape:
            output = _unit(view(e.y))
            fit = model(output)
            for size in paths.sizes(output, of=0) if e.explained_by(fit) else ():
                words = "the path through the sum that divides (of a softmax or another normalization)"
                yield f"the mismatch is parallel to the output {name}, as when {words} {size}", fit
        fit = model(ones, x_hat)
        if e.explained_by(fit) and (rows.shape[1] > 3 or paths.straight_is_right(ones, x_hat)):
            for sizes in product(paths.sizes(ones, x_hat, of=0), paths.sizes(ones, x_hat, of=1)):
                told = f"the path through the mean {sizes[0]} and the path through the variance {sizes[1]}"
                if {*sizes} <= {MISSING, UNKNOWN}:
                    told = "the statistics are treated as constants"
                words = f"the mismatch is a constant plus a multiple of x̂ {name}, as when {told}"
                both.append((words, fit))
    yield from both


def _with_fit(e: Evidence, places: Array, *along: Array) -> Array:
    """Return the right gradient plus what of the mismatch lies along some paths."""
    flat = e.want.reshape(len(e.got), -1).copy()
    difference = e.mismatch.reshape(len(e.got), -1)[:, places]
    flat[:, places] += sum((difference * path).mean(axis=2, keepdims=True) * path for path in along)
    return flat.reshape(e.want.shape)


def _unit(rows: Array) -> Array:
    return np.asarray(rows / np.sqrt((rows**2).mean(axis=1, keepdims=True)))


@dataclass(frozen=True)
class Paths:
    """How large a gradient's paths through statistics are, beside the right ones, by Jacobians.

    Within a row that shares its statistics, the right one is ``s_i (i == j) + p_i + q_i x̂_j``: what passes straight
    through, through the mean and through the variance.
    """

    evidence: Evidence
    rows: Array

    def sizes(self, *paths: Array, of: int) -> list[str]:
        """Return for one of the paths, given by their values along every row, what its size may be in words."""
        coefficients = self.coefficients(*paths)
        return [UNKNOWN] if coefficients is None else self._size(*coefficients[:, :, of + 1].T)

    def straight_is_right(self, *paths: Array) -> bool:
        """Return whether what passes straight through is as it should be: then even short rows tell."""
        coefficients = self.coefficients(*paths)
        return coefficients is not None and close(*coefficients[:, :, 0].T)

    def coefficients(self, *paths: Array) -> Array | None:
        """Return for each entry those of the gradient and the right one, straight through and along the paths."""
        e = self.evidence
        if not e.whole or e.g.shape != e.x.shape:
            return None
        count = e.x.size
        jacobians = [j.reshape(count, count) for j in (e.got, e.want)]
        found = []
        for entries, *along in zip(self.rows, *paths, strict=True):
            for place, i in enumerate(entries):
                basis = np.stack([np.eye(len(entries))[place], *along], axis=1)
                found.append([_coefficients(basis, jacobian[i, entries]) for jacobian in jacobians])
        coefficients: Array = np.array(found)
        return coefficients if np.isfinite(coefficients).all() else None

    def _size(self, got: Array, want: Array) -> list[str]:
        factor = float((got * want).sum() / ((want * want).sum() or 1.0))
        if not want.any() or np.abs(got - factor * want).max() > 1e-4 * np.abs(want).max():
            return [UNKNOWN]
        if abs(factor) < 1e-5:
            return [MISSING]
        if abs(factor + 1) < 1e-5:
            return ["has the wrong sign"]
        named = [words for value, words in factors(self.evidence) if abs(factor - value) < 1e-5 * value]
        plain = [f"is {factor:.6g} times as large as the right one"]
        if factor in (0.5, 2):
            return plain
        return [f"is the right one {words}" for words in named] + plain + ["has the wrong size"]


def _coefficients(basis: Array, row: Array) -> Array:
    """Return the coefficients of a row in a basis; NaN where it is not in its span."""
    found = np.linalg.lstsq(basis, row, rcond=None)[0]
    inside = np.abs(basis @ found - row).max() <= 1e-6 * np.abs(row).max()
    return found if inside else np.full(len(found), np.nan)


def of_eps(e: Evidence) -> Said:
    """Guess at eps: what is wrong vanishes as the input grows, though the output of a normalization stays the same."""
    large = replace(e, points=tuple(1e4 * p if i == e.which else p for i, p in enumerate(e.points)))
    here, there = (np.abs(one.mismatch).max() / np.abs(one.want).max() for one in (e, large))
    steady = np.abs(large.y - e.y).max() < 0.3 * np.abs(e.y).max()
    if steady and there < 1e-4 * here:
        yield (
            "what is wrong vanishes as the input grows: eps is dropped or misplaced (outside the root for inside)",
            e.got,
        )


def of_factors_per_group(e: Evidence) -> Said:
    """Guess a factor of its own for each row that shares a statistic."""
    for name, view in _views(e.x):
        places = view(np.arange(e.x.size).reshape(e.x.shape))
        if min(places.shape[0], places.shape[1] - 1) < 2:
            continue
        got, want = (j.reshape(len(e.got), -1)[:, places] for j in (e.got, e.want))
        sizes = (want * want).sum(axis=(0, 2), keepdims=True)
        factor = (got * want).sum(axis=(0, 2), keepdims=True) / np.where(sizes > 0, sizes, 1)
        flat = e.want.reshape(len(e.got), -1).copy()
        flat[:, places] = factor * want
        words = f"it is the right one times a factor of its own for each row {name}: something with one value for each "
        words += "of these is missing or counted twice, as a norm, a standard deviation, a weight or a count"
        yield words, flat.reshape(e.want.shape)


def of_mixing(e: Evidence) -> Said:
    """Along which axes an entry of the gradient depends on others of the cotangent shows over which it was summed."""
    if not e.whole:
        return
    mixed, right = (_mixed(j.reshape(*e.g.shape, *e.x.shape), e.g.ndim) for j in (e.got, e.want))
    along = f"along {named_axes(right)}" if right else "along none"
    if mixed and mixed != right:
        missing = [axis for axis in right if axis not in mixed]
        path = f", or a path along {named_axes(missing)} is missing" if {*mixed} < {*right} else ""
        yield (
            f"its entries depend on the cotangent along {named_axes(mixed)}, those of the right one {along}, as when a "
            f"sum (or mean) runs over the wrong axis{path}",
            e.got,
        )
    elif right and not mixed:
        yield (
            f"its entries depend on the cotangent elementwise, those of the right one {along}: a sum or path is missing",
            e.got,
        )


def _mixed(jacobian: Array, ndim: int) -> tuple[int, ...]:
    """Return the axes of the input along which its gradient mixes: no axis of the output keeps step with them."""
    scale = float(np.abs(jacobian).max(initial=0))
    there = np.argwhere(np.abs(jacobian) > 1e-9 * scale)
    outputs, inputs = there[:, :ndim], there[:, ndim:]
    kept = {b for a in range(ndim) for b in range(inputs.shape[1]) if (outputs[:, a] == inputs[:, b]).all()}
    return tuple(b for b in range(inputs.shape[1]) if b not in kept)
