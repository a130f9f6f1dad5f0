"""What a mismatch looks like: guesses at a cause, each tested on the numbers and worded as evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np

from ..engine.operators import Array

CLOSE = 1e-5


def diagnose(got: Array, want: Array | None, points: Sequence[Array], which: int, g: Array) -> tuple[str, ...]:
    """Return what the numbers of one input's gradient look like, most specific first; nothing where nothing fits.

    Parameters
    ----------
    got, want : ndarray
        The gradient and the right one; None where their shapes differ.
    points : sequence of ndarrays
        All inputs.
    which : int
        Which of them the gradient is for.
    g : ndarray
        The cotangent.
    """
    x = points[which]
    if want is None:
        return tuple(_of_shapes(got, x, g))
    if not np.isfinite(got).all() or not np.isfinite(want).all():
        return ("it is not finite where the right one is: a root, a logarithm or a quotient at 0, or an overflow",)
    guesses = (_of_one_factor, _of_transposition, _of_paths, _of_sums, _of_factors_per_group)
    for guess in guesses:
        found = tuple(guess(got, want, x, points, g))
        if found:
            return found
    return ()


def _close(a: Array, b: Array, to: float = CLOSE) -> bool:
    scale = max(float(np.abs(b).max(initial=0)), float(np.abs(a).max(initial=0)))
    return scale > 0 and float(np.abs(a - b).max(initial=0)) <= to * scale


def _of_shapes(got: Array, x: Array, g: Array) -> Iterator[str]:
    if got.shape == g.shape:
        found = _repeated(x.shape, g.shape)
        if found:
            axes = f"ax{'i' if len(found[0]) == 1 else 'e'}s {_listed(found[0])}" if len(found) == 1 else "the axes"
            yield (
                f"it has the shape of the cotangent: a sum is missing over {axes} along which the input was repeated "
                "(an unreduced broadcast)"
            )
            return
    if got.shape == x.shape[::-1]:
        yield "it has the input's shape reversed: transposed"
    elif got.size == x.size:
        yield "it has as many elements as the input: a reshape is missing"


def _repeated(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the sets of axes along which an array of the old shape may have been repeated to get the new one."""
    squeezed = [size for size in old if size != 1]
    sets = (axes for count in range(1, len(new) + 1) for axes in combinations(range(len(new)), count))
    return [axes for axes in sets if [n for i, n in enumerate(new) if i not in axes and n != 1] == squeezed]


def _of_one_factor(got: Array, want: Array, x: Array, points: Sequence[Array], g: Array) -> Iterator[str]:
    if not got.any():
        yield "it is zero everywhere: the path to this input is missing"
        return
    if want.size < 2 or not want.any():
        if want.size == 1 and want.any() and _close(got, -want):
            yield "it is the right one with its sign flipped"
        return
    ratio = float((got * want).sum() / (want * want).sum())
    if not _close(got, ratio * want):
        return
    if abs(ratio + 1) < CLOSE:
        yield "it is the right one with its sign flipped"
        return
    known = _known_factor(abs(ratio), [*x.shape, *g.shape, *(s for p in points for s in p.shape)], x, g)
    flipped = " and its sign flipped" if ratio < 0 else ""
    yield f"it is {abs(ratio):.6g} times the right one everywhere{flipped}{known}"


def _known_factor(ratio: float, sizes: Sequence[int], x: Array, g: Array) -> str:
    batch = g.shape[0] if g.ndim else 1
    named: list[tuple[float, str]] = []
    if batch > 2:
        named += [
            (batch, "the batch size, as when a sum stands where a mean belongs"),
            (1 / batch, "1 / the batch size, as when a mean stands where a sum belongs"),
        ]
    for n in sorted({*sizes, *(a * b for a, b in combinations(sizes, 2))}):
        if n > 2:
            named += [(n / (n - 1), f"n / (n - 1) for n = {n}, as of the unbiased variance")]
            named += [((n - 1) / n, f"(n - 1) / n for n = {n}, as of the unbiased variance")]
            named += [(float(n), f"n for n = {n}, an axis size"), (1 / n, f"1 / n for n = {n}, an axis size")]
    for value, words in named:
        if abs(ratio - value) < CLOSE * value:
            return f", which is {words}"
    return ""


def _of_transposition(got: Array, want: Array, x: Array, points: Sequence[Array], g: Array) -> Iterator[str]:
    if got.ndim >= 2:
        for a, b in combinations(range(got.ndim), 2):
            if got.shape[a] == got.shape[b] and _close(got.swapaxes(a, b), want):
                yield f"it is the right one with axes {a} and {b} swapped: transposed"
                return


def _views(x: Array) -> Iterator[tuple[str, Callable[[Array], Array]]]:
    """Yield ways to see an array as rows that may share statistics: over some axes, or over groups of channels."""
    everything = range(x.ndim)
    for count in range(1, x.ndim + 1):
        for axes in combinations(everything, count):
            if np.prod([x.shape[i] for i in axes]) > 1:
                kept = [i for i in everything if i not in axes]
                name = f"over ax{'i' if len(axes) == 1 else 'e'}s {_listed(axes)}"
                yield (
                    name,
                    lambda a, kept=kept, axes=axes: a.transpose(*kept, *axes).reshape(  # type: ignore[misc]
                        int(np.prod([a.shape[i] for i in kept], dtype=int)), -1
                    ),
                )
    if x.ndim >= 2:
        for groups in range(2, x.shape[1]):
            if x.shape[1] % groups == 0:
                yield f"over each of {groups} groups of channels", lambda a, n=groups: a.reshape(len(a) * n, -1)  # type: ignore[misc]


def _of_paths(got: Array, want: Array, x: Array, points: Sequence[Array], g: Array) -> Iterator[str]:
    """Look for what is missing or too much: a constant along rows (a mean's path), or x̂ (a variance's), or both."""
    mismatch = got - want
    scale = max(float(np.abs(want).max()), float(np.abs(got).max()))
    if float(np.abs(mismatch).max(initial=0)) <= CLOSE * scale:
        return
    fits: list[tuple[int, str]] = []
    for name, view in _views(x):
        rows, difference = view(x), view(mismatch)
        if rows.shape[1] < 3:
            continue
        centred = rows - rows.mean(axis=1, keepdims=True)
        if not (np.abs(centred).max(axis=1) > 1e-9 * np.abs(rows).max(initial=1e-300)).all():
            continue
        x_hat = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True))
        constant = difference.mean(axis=1, keepdims=True)
        slope = (difference * x_hat).mean(axis=1, keepdims=True)
        small = 1e-4 * float(np.abs(difference).max())
        if _fits(difference, constant, small):
            fits.append((0, f"the mismatch is constant {name}, as when the path through the mean is missing or wrong"))
        elif _fits(difference, slope * x_hat, small):
            fits.append(
                (1, f"the mismatch is parallel to x̂ {name}, as when the path through the variance is missing or wrong")
            )
        elif rows.shape[1] > 3 and _fits(difference, constant + slope * x_hat, small):
            fits.append(
                (
                    2,
                    f"the mismatch is a constant plus a multiple of x̂ {name}, as when the statistics are "
                    "treated as constants",
                )
            )
    if fits:
        yield min(fits)[1]


def _fits(difference: Array, model: Array, small: float) -> bool:
    return float(np.abs(difference - model).max(initial=0)) <= small


def _of_sums(got: Array, want: Array, x: Array, points: Sequence[Array], g: Array) -> Iterator[str]:
    """A parameter's gradient is a sum of the cotangent, or of it times something: over which axes was it taken?"""
    for count in range(g.ndim + 1):
        for axes in combinations(range(g.ndim), count):
            total = g.sum(axis=axes)
            if total.size == got.size and _close(np.broadcast_to(total.reshape(got.shape), got.shape), got):
                yield (
                    f"it is the sum of the cotangent alone over ax{'i' if len(axes) == 1 else 'e'}s "
                    f"{_listed(axes)}: a factor "
                    "is missing, or that of another input was returned"
                )
                return


def _of_factors_per_group(got: Array, want: Array, x: Array, points: Sequence[Array], g: Array) -> Iterator[str]:
    """A factor of its own for each row that shares a variance: what eps does when it is dropped or misplaced."""
    for name, view in _views(x):
        a, b = view(got), view(want)
        if a.shape[0] < 2 or a.shape[1] < 3:
            continue
        norms = (b * b).sum(axis=1, keepdims=True)
        if not (norms > 0).all():
            continue
        factors = (a * b).sum(axis=1, keepdims=True) / norms
        if _close(a, factors * b) and np.ptp(factors) > CLOSE:
            least, most = float(factors.min()), float(factors.max())
            yield (
                f"it is the right one times a factor of its own {name}, from {least:.4g} to {most:.4g}: "
                "something with one "
                "value for each of these is wrong, as the standard deviation when eps is dropped or stands "
                "outside the root"
            )
            return


def _listed(axes: Sequence[int]) -> str:
    return ", ".join(map(str, axes))
