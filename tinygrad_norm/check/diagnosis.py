"""What a mismatch looks like: guesses at a cause, each tested on the numbers and worded as evidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from ..engine.operators import Array

CLOSE = 1e-5


@dataclass(frozen=True)
class Evidence:
    """The gradient of one input, and the right one.

    Attributes
    ----------
    got, want : ndarray
        For one cotangent; ``want`` is None where their shapes differ.
    points : tuple of ndarrays
        All inputs.
    which : int
        Which of them the gradient is for.
    g : ndarray
        The cotangent.
    jacobians : pair of ndarrays of shape ``g.shape + x.shape``, optional
        Of the gradient and of the right one, from all cotangents that are 1 once.
    """

    got: Array
    want: Array | None
    points: tuple[Array, ...]
    which: int
    g: Array
    jacobians: tuple[Array, Array] | None = None

    @property
    def x(self) -> Array:
        return self.points[self.which]


def diagnose(evidence: Evidence) -> str:
    """Return what a gradient looks like, in a sentence, by the first guess that fits; "" where none does."""
    got, want = evidence.got, evidence.want
    if want is None:
        return next(_of_shapes(evidence), "")
    if not np.isfinite(got).all() or not np.isfinite(want).all():
        return "it is not finite where the right one is: a root, a logarithm or a quotient at 0, or an overflow"
    guesses = (_of_one_factor, _of_transposition, _of_axes, _of_paths, _of_sums, _of_factors_per_group)
    return next((words for guess in guesses for words in guess(evidence, got, want)), "")


def _close(a: Array, b: Array, to: float = CLOSE) -> bool:
    scale = max(float(np.abs(b).max(initial=0)), float(np.abs(a).max(initial=0)))
    return scale > 0 and float(np.abs(a - b).max(initial=0)) <= to * scale


def _of_shapes(evidence: Evidence) -> Iterator[str]:
    got, x, g = evidence.got, evidence.x, evidence.g
    found = _repeated(x.shape, got.shape)
    if found:
        axes = f"over {_axes(found[0])}" if len(found) == 1 else "over the axes"
        cotangent = "the shape of the cotangent" if got.shape == g.shape else f"the shape {got.shape}"
        yield f"it has {cotangent}: a sum is missing {axes} along which the input was repeated (an unreduced broadcast)"
    elif got.shape == x.shape[::-1]:
        yield "it has the input's shape reversed: transposed"
    elif got.size == x.size:
        yield "it has as many elements as the input: a reshape is missing"


def _repeated(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the sets of axes along which an array of the old shape may have been repeated to get the new one."""
    squeezed = [size for size in old if size != 1]
    sets = (axes for count in range(1, len(new) + 1) for axes in combinations(range(len(new)), count))
    return [axes for axes in sets if [n for i, n in enumerate(new) if i not in axes and n != 1] == squeezed]


def _of_one_factor(evidence: Evidence, got: Array, want: Array) -> Iterator[str]:
    if not got.any():
        yield "it is zero everywhere: the path to this input is missing"
    elif want.any() and _close(got, -want):
        yield "it is the right one with its sign flipped"
    elif np.count_nonzero(want) > 1:
        ratio = float((got * want).sum() / (want * want).sum())
        if _close(got, ratio * want):
            flipped = " and its sign flipped" if ratio < 0 else ""
            factor = f"{abs(ratio):.6g}" if abs(abs(ratio) - 1) > CLOSE else f"{abs(ratio):.12g}"
            yield f"it is {factor} times the right one everywhere{flipped}{_named_factor(abs(ratio), evidence)}"


def _named_factor(ratio: float, evidence: Evidence) -> str:
    """Return what a factor may be, by the sizes of axes: with two elements, n, n / (n - 1) and 2 are all alike."""
    shapes = [evidence.g.shape, *(p.shape for p in evidence.points)]
    named: list[tuple[float, str]] = []
    for batch in dict.fromkeys(shape[0] for shape in (evidence.points[0].shape, evidence.g.shape) if shape):
        named += [
            (batch, "the batch size, as when a sum stands where a mean belongs"),
            (1 / max(batch, 1), "1 / the batch size, as when a mean stands where a sum belongs"),
        ]
    sizes = [size for shape in shapes for size in shape]
    for n in sorted({*sizes, *(a * b for a, b in combinations(sizes, 2))} - {0, 1}):
        named += [
            (n / (n - 1), f"n / (n - 1) for n = {n}, as of the unbiased variance"),
            ((n - 1) / n, f"(n - 1) / n for n = {n}, as of the unbiased variance"),
            (math.sqrt(n / (n - 1)), f"the root of n / (n - 1) for n = {n}, as of the unbiased variance"),
            (math.sqrt((n - 1) / n), f"the root of (n - 1) / n for n = {n}, as of the unbiased variance"),
            (float(n), f"n for n = {n}, an axis size"),
            (1 / n, f"1 / n for n = {n}, an axis size"),
        ]
    fitting = [words for value, words in named if abs(ratio - value) < CLOSE * value and not _plain(value)]
    return f", which is {fitting[0]}" if fitting else ""


def _plain(factor: float) -> bool:
    """Return whether a factor is too common to be told by the size of an axis."""
    return factor in (0.5, 1, 2)


def _of_transposition(evidence: Evidence, got: Array, want: Array) -> Iterator[str]:
    for a, b in combinations(range(got.ndim), 2):
        if got.shape[a] == got.shape[b] and _close(got.swapaxes(a, b), want):
            yield f"it is the right one with axes {a} and {b} swapped: transposed"


def _of_axes(evidence: Evidence, got: Array, want: Array) -> Iterator[str]:
    """Along which axes an entry of the gradient depends on others of the cotangent shows over which it was summed."""
    if evidence.jacobians is None:
        return
    mixed, right = (_mixed(jacobian, evidence.g.ndim) for jacobian in evidence.jacobians)
    if mixed and mixed != right:
        along = f"along {_axes(right)}" if right else "along none"
        yield (
            f"its entries depend on the cotangent along {_axes(mixed)}, those of the right one {along}, as when a sum "
            "runs over the wrong axis"
        )


def _mixed(jacobian: Array, ndim: int) -> tuple[int, ...]:
    """Return the axes of the input along which its gradient mixes: no axis of the output keeps step with them."""
    scale = float(np.abs(jacobian).max(initial=0))
    there = np.argwhere(np.abs(jacobian) > 1e-9 * scale)
    outputs, inputs = there[:, :ndim], there[:, ndim:]
    kept = {b for a in range(ndim) for b in range(inputs.shape[1]) if (outputs[:, a] == inputs[:, b]).all()}
    return tuple(b for b in range(inputs.shape[1]) if b not in kept)


Rows = Callable[[Array], Array]


def _views(x: Array) -> Iterator[tuple[str, Rows]]:
    """Yield ways to see an array as rows that may share statistics: over some axes, or over groups of channels."""
    everything = range(x.ndim)
    for count in range(1, x.ndim + 1):
        for axes in combinations(everything, count):
            yield f"over {_axes(axes)}", partial(_as_rows, axes=axes)
    if x.ndim >= 2:
        for groups in range(2, x.shape[1]):
            if x.shape[1] % groups == 0:
                yield f"over each of {groups} groups of channels", lambda a, n=groups: a.reshape(len(a) * n, -1)  # type: ignore[misc]


def _as_rows(a: Array, axes: Sequence[int]) -> Array:
    kept = [i for i in range(a.ndim) if i not in axes]
    return a.transpose(*kept, *axes).reshape(math.prod(a.shape[i] for i in kept), -1)


def _of_paths(evidence: Evidence, got: Array, want: Array) -> Iterator[str]:
    """Look for what is missing or too much: a constant along rows (a mean's path), or x̂ (a variance's), or both."""
    x, mismatch = evidence.x, got - want
    fits: list[tuple[int, str]] = []
    for name, view in _views(x):
        rows, difference = view(x), view(mismatch)
        centred = rows - rows.mean(axis=1, keepdims=True) if rows.size else rows
        if rows.shape[1] < 3 or not (np.abs(centred).max(axis=1) > 1e-9 * np.abs(rows).max()).all():
            continue
        ones, x_hat, ray = np.ones_like(rows), _unit(centred), _unit(rows)
        of_mean, of_variance, of_norm = (_along(difference, path) for path in (ones, x_hat, ray))
        paths = Paths(evidence, view(np.arange(x.size).reshape(x.shape)))
        if _fits(difference, of_mean):
            size = paths.sizes(ones, x_hat)[0]
            fits.append((0, f"the mismatch is constant {name}, as when the path through the mean {size}"))
        elif _fits(difference, of_variance):
            size = paths.sizes(ones, x_hat)[1]
            fits.append((1, f"the mismatch is parallel to x̂ {name}, as when the path through the variance {size}"))
        elif _fits(difference, of_norm):
            (size,) = paths.sizes(ray)
            fits.append((2, f"the mismatch is parallel to x {name}, as when the path through the norm of x {size}"))
        elif rows.shape[1] > 3 and _fits(difference, of_mean + of_variance):
            sizes = paths.sizes(ones, x_hat)
            told = "the statistics are treated as constants"
            if not {*sizes} <= {"is missing", UNKNOWN_SIZE}:
                told = f"the path through the mean {sizes[0]} and the path through the variance {sizes[1]}"
            fits.append((3, f"the mismatch is a constant plus a multiple of x̂ {name}, as when {told}"))
    if fits:
        yield min(fits)[1]


def _unit(rows: Array) -> Any:
    return rows / np.sqrt((rows**2).mean(axis=1, keepdims=True))


def _along(rows: Array, path: Array) -> Any:
    return (rows * path).mean(axis=1, keepdims=True) * path


def _fits(difference: Array, model: Array) -> bool:
    return float(np.abs(difference - model).max()) <= 1e-4 * float(np.abs(difference).max())


UNKNOWN_SIZE = "is missing or wrong"


@dataclass(frozen=True)
class Paths:
    """How large a gradient's paths through statistics are, beside the right ones, by Jacobians.

    Within a row that shares its statistics, the right one is ``s_i (i == j) + p_i + q_i x̂_j``: what passes straight
    through, through the mean and through the variance.
    """

    evidence: Evidence
    rows: Array

    def sizes(self, *paths: Array) -> list[str]:
        """Return for each path, given by its values along every row, in words how large it is."""
        unknown = [UNKNOWN_SIZE] * len(paths)
        if self.evidence.jacobians is None or self.evidence.g.shape != self.evidence.x.shape:
            return unknown
        count = self.evidence.x.size
        got, want = (jacobian.reshape(count, count) for jacobian in self.evidence.jacobians)
        found = []
        for entries, *along in zip(self.rows, *paths, strict=True):
            for place, i in enumerate(entries):
                basis = np.stack([np.eye(len(entries))[place], *along], axis=1)
                found.append([_coefficients(basis, jacobian[i, entries]) for jacobian in (got, want)])
        coefficients: Array = np.array(found)[:, :, 1:]
        if not np.isfinite(coefficients).all():
            return unknown
        return [self._size(*coefficients[:, :, k].T) for k in range(len(paths))]

    def _size(self, got: Array, want: Array) -> str:
        factor = float((got * want).sum() / ((want * want).sum() or 1.0))
        if not want.any() or np.abs(got - factor * want).max() > 1e-4 * np.abs(want).max():
            return UNKNOWN_SIZE
        if abs(factor) < CLOSE:
            return "is missing"
        if abs(factor + 1) < CLOSE:
            return "has the wrong sign"
        return f"is {factor:.6g} times as large as the right one{_named_factor(abs(factor), self.evidence)}"


def _coefficients(basis: Array, row: Array) -> Array:
    """Return the coefficients of a row in a basis; NaN where it is not in its span."""
    found = np.linalg.lstsq(basis, row, rcond=None)[0]
    inside = np.abs(basis @ found - row).max() <= 1e-6 * np.abs(row).max()
    return found if inside else np.full(len(found), np.nan)


def _of_sums(evidence: Evidence, got: Array, want: Array) -> Iterator[str]:
    """A parameter's gradient is a sum of the cotangent, or of it times something: over which axes was it taken?"""
    for count in range(evidence.g.ndim + 1):
        for axes in combinations(range(evidence.g.ndim), count):
            total = evidence.g.sum(axis=axes)
            if total.size == got.size and _close(total.reshape(got.shape), got):
                over = f" over {_axes(axes)}" if axes else ""
                yield (
                    f"it is the sum of the cotangent alone{over}: a factor is missing, or that of another input was "
                    "returned"
                )


def _of_factors_per_group(evidence: Evidence, got: Array, want: Array) -> Iterator[str]:
    """A factor of its own for each row that shares a variance: what eps does when it is dropped or misplaced."""
    for name, view in _views(evidence.x):
        a, b = view(got), view(want)
        norms = (b * b).sum(axis=1, keepdims=True)
        if a.shape[0] < 2 or a.shape[1] < 3 or not (norms > 0).all():
            continue
        factors = (a * b).sum(axis=1, keepdims=True) / norms
        if factors.min() > 0 and _close(a, factors * b) and np.ptp(factors) > CLOSE:
            yield (
                f"it is the right one times a factor of its own {name}, from {factors.min():.4g} to "
                f"{factors.max():.4g}: something with one value for each of these is wrong, as the standard deviation "
                "when eps is dropped or stands outside the root"
            )


def _axes(axes: Sequence[int]) -> str:
    return f"ax{'i' if len(axes) == 1 else 'e'}s {', '.join(map(str, axes))}"
