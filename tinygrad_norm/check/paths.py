"""Paths through statistics: a mismatch along constants, x̂, x or the output points to a mean, a variance or a norm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product

import numpy as np

from ..engine.operators import Array
from .facts import Evidence, Said, close, named_axes, named_factor, named_values, subsets

Rows = Callable[[Array], Array]
MISSING, UNKNOWN = "is missing", "is missing or wrong"


def _views(x: Array) -> Iterator[tuple[Sequence[int], str, Rows]]:
    """Yield ways to view an array as rows that share a statistic: over some axes, or over groups of channels."""
    for axes in subsets(x.ndim):
        yield axes, f"over {named_axes(axes)}", partial(_as_rows, axes=axes)
    if x.ndim >= 2:
        for groups in range(2, x.shape[1]):
            if x.shape[1] % groups == 0:
                yield range(1, x.ndim), "over each group of channels", lambda a, n=groups: a.reshape(len(a) * n, -1)  # type: ignore[misc]


def _as_rows(a: Array, axes: Sequence[int]) -> Array:
    kept = [i for i in range(a.ndim) if i not in axes]
    return a.transpose(*kept, *axes).reshape(math.prod(a.shape[i] for i in kept), -1)


def of_paths(e: Evidence) -> Said:
    """Guess which path is wrong: through the mean (constant along rows), the variance (a multiple of x̂), or both."""
    fits: list[tuple[int, int, str, Array]] = []
    mixed = _mixed(e.want.reshape(*e.g.shape, *e.x.shape), e.g.ndim) if e.whole and e.g.shape == e.x.shape else ()
    for axes, name, view in _views(e.x):
        rows, places = view(e.x), view(np.arange(e.x.size).reshape(e.x.shape))
        if not {*mixed} <= {*axes}:
            continue  # the statistics run over more than these rows
        if rows.shape[1] < 3 or not (np.ptp(rows, axis=1) > 1e-9 * np.abs(rows).max()).all():
            continue
        ones, x_hat, ray = np.ones_like(rows), _unit(rows - rows.mean(axis=1, keepdims=True)), _unit(rows)
        looks = "the mismatch is"
        norm = "a penalty on it" if e.g.size == 1 else "the path through its norm"
        kinds = [
            (f"constant {name}, as when the path through the mean", ones, [ones, x_hat]),
            (f"parallel to x̂ {name}, as when the path through the variance", x_hat, [ones, x_hat]),
            (f"parallel to {e.name} {name}, as when {norm}", ray, [ray]),
        ]
        if e.y.shape == e.x.shape:
            output, shares = _unit(view(e.y)), _unit(view(np.exp(np.minimum(e.y, 0))))
            through = f"{name}, as when the path through the sum"
            kinds.append((f"parallel to the output {through} that divides (softmax, normalization)", output, [output]))
            kinds.append((f"parallel to exp(output), the softmax, {through} (mean)", shares, [shares]))
        for rank, (words, along, basis) in enumerate(kinds):
            fit = _with_fit(e, places, along)
            if e.explained_by(fit) and not _is_all(e, places, along):
                sizes = _sizes(e, _coefficients(e, places, basis), of=2 if along is x_hat else 1)
                fits += [(rank, -rows.shape[1], f"{looks} {words} {size}", fit) for size in sizes]
        fit, both = _with_fit(e, places, ones, x_hat), _coefficients(e, places, [ones, x_hat])
        if e.explained_by(fit) and (rows.shape[1] > 3 or (both is not None and close(*both[:, 0].T))):
            for of_mean, of_variance in product(_sizes(e, both, of=1), _sizes(e, both, of=2)):
                told = f"the path through the mean {of_mean} and the path through the variance {of_variance}"
                if {of_mean, of_variance} <= {MISSING, UNKNOWN}:
                    told = "the statistics are treated as constants"
                words = f"{looks} a constant plus a multiple of x̂ {name}, as when {told}"
                fits.append((5, -rows.shape[1], words, fit))
    for _, _, words, fit in sorted(fits, key=lambda found: found[:2]):
        yield words, fit


def _with_fit(e: Evidence, places: Array, *along: Array) -> Array:
    """Return the right gradient plus the part of the mismatch along some paths."""
    flat = e.want.reshape(len(e.got), -1).copy()
    difference = e.mismatch.reshape(len(e.got), -1)[:, places]
    flat[:, places] += sum((difference * path).mean(axis=2, keepdims=True) * path for path in along)
    return flat.reshape(e.want.shape)


def _unit(rows: Array) -> Array:
    return np.asarray(rows / np.sqrt((rows**2).mean(axis=1, keepdims=True)))


def _is_all(e: Evidence, places: Array, path: Array) -> bool:
    """Return whether the whole right gradient lies along a path. Then a factor is wrong, not a path."""
    rows = e.want.reshape(len(e.want), -1)[:, places]
    return close((rows * path).mean(axis=2, keepdims=True) * path, rows)


def _coefficients(e: Evidence, places: Array, paths: Sequence[Array]) -> Array | None:
    """Return for each entry the coefficients of the direct path and of the others, in the gradient and the right one.

    Within a row that shares its statistics, the right gradient is ``s_i (i == j) + p_i + q_i x̂_j``: the direct path,
    the path through the mean and the path through the variance.
    """
    if not e.whole or e.g.shape != e.x.shape:
        return None
    found = []
    for entries, *along in zip(places, *paths, strict=True):
        for place, i in enumerate(entries):
            basis = np.stack([np.eye(len(entries))[place], *along], axis=1)
            both = np.stack([j.reshape(len(j), -1)[i, entries] for j in (e.got, e.want)], axis=1)
            solved = np.linalg.pinv(basis) @ both
            if not np.allclose(basis @ solved, both, atol=1e-6 * np.abs(both).max()):
                return None
            if np.linalg.matrix_rank(basis) == basis.shape[1]:
                found.append(solved)
    return np.array(found) if found else None


def _sizes(e: Evidence, coefficients: Array | None, of: int) -> list[str]:
    """Return descriptions of the size of a path."""
    got, want = np.zeros((2, 1)) if coefficients is None else coefficients[:, of].T
    factor = float((got * want).sum() / ((want * want).sum() or 1.0))
    if not want.any() or np.abs(got - factor * want).max() > 1e-4 * np.abs(want).max():
        return [UNKNOWN]
    if abs(factor) < 1e-5:
        return [MISSING]
    if abs(factor + 1) < 1e-5:
        return ["has the wrong sign"]
    number = f"is {factor:.6g} times as large as it should be"
    return [*named_factor(e, factor, "is {}", number), "has the wrong size"]


def of_eps(e: Evidence) -> Said:
    """Guess at eps: the mismatch vanishes as the input grows, and the output of a normalization stays the same."""
    large, larger = (e.times(scale) for scale in (1e4, 1e6))
    here, there = (np.abs(one.mismatch).max() / np.abs(one.want).max() for one in (e, large))
    if close(large.y, larger.y, 1e-3) and there < 1e-3 * here:
        yield "the mismatch vanishes as the input grows: eps is dropped or misplaced (is it inside the root?)", e.got


def of_groups(e: Evidence) -> Said:
    """Guess a different factor for each row that shares a statistic, each entry of the input, or each of the output."""
    got, want = (j.reshape(len(e.got), -1) for j in (e.got, e.want))
    numbers = np.arange(e.x.size)
    local, shared = "(a local derivative, a gate, a weight)", "(a standard deviation, a norm, a count)"
    kinds = [(f"row {name}", _numbered(view(numbers.reshape(e.x.shape))), shared) for _, name, view in _views(e.x)]
    kinds.append(("entry of the input", numbers, local))
    kinds += [("entry of the output", np.arange(len(got))[:, None], local)] if e.whole else []
    for name, groups, what in kinds:
        of = np.broadcast_to(groups, want.shape).ravel()
        sizes, products = (np.bincount(of, weights=(j * want).ravel()) for j in (want, got))
        several = np.bincount(of, weights=(want != 0).ravel())[sizes > 0].min() > 1
        factor = products / np.where(sizes > 0, sizes, 1)
        known = factor[sizes > 0]
        if several and len(known) > 1 and known.all() and np.ptp(known) > 1e-3 * np.abs(known).max():
            words = f"it is the right gradient with a different factor for each {name}: one {what} is missing or wrong"
            yield words, (factor[of] * want.ravel()).reshape(e.want.shape)


def _numbered(places: Array) -> Array:
    """Return the number of the row of each entry."""
    numbers = np.empty(places.size, dtype=int)
    numbers[places] = np.arange(len(places))[:, None]
    return numbers


def of_wrong_axes(e: Evidence) -> Said:
    """Guess over which axes sums run, from the axes along which the gradient mixes entries of the cotangent."""
    mixed, right = _both_mixed(e)
    fewer, more = [a for a in right if a not in mixed], [a for a in mixed if a not in right]
    if not fewer and not (more and _is_of_sums(e)):
        return
    told = f"a sum (or mean) runs over {'the wrong axis' if fewer else 'an axis too many'}"
    if not more:
        told = f"a sum or mean over {named_axes(fewer)} is missing"
        if mixed and any(a.ndim > 1 for _, a in named_values(e)[:-1] if a is not e.x):
            return  # perhaps a product with another matrix, which is not transposed
    along = [f"along {named_axes(axes)}" if axes else "elementwise (along no axis)" for axes in (mixed, right)]
    yield f"its entries depend on the cotangent {along[0]}, those of the right gradient {along[1]}: {told}", e.got


def of_mixing(e: Evidence) -> Said:
    """Guess that the right gradient mixes entries, but this gradient does not."""
    if not _both_mixed(e)[0]:
        yield from of_wrong_axes(e)


def _is_of_sums(e: Evidence) -> bool:
    """Return whether the mismatch has a lower rank than it could have, as sums have."""
    rows = e.mismatch.reshape(len(e.got), -1)
    return bool(np.linalg.matrix_rank(rows) < min(rows.shape))


def _both_mixed(e: Evidence) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if not e.whole:
        return (), ()
    mixed, right = (_mixed(j.reshape(*e.g.shape, *e.x.shape), e.g.ndim) for j in (e.got, e.want))
    return mixed, right


def _mixed(jacobian: Array, ndim: int) -> tuple[int, ...]:
    """Return the axes of the input along which the gradient mixes entries: no axis of the output has the same index."""
    scale = float(np.abs(jacobian).max(initial=0))
    there = np.argwhere(np.abs(jacobian) > 1e-9 * scale)
    outputs, inputs = there[:, :ndim], there[:, ndim:]
    kept = {b for a in range(ndim) for b in range(inputs.shape[1]) if (outputs[:, a] == inputs[:, b]).all()}
    return tuple(b for b in range(inputs.shape[1]) if b not in kept)
