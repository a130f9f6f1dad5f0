"""What a mismatch looks like: guesses at the cause, each tested on the numbers and worded as evidence.

A guess is a sentence and the gradient that it predicts from the right gradient. It counts if the prediction explains
the mismatch, and if the same sentence holds at every point. Silence is better than a guess that only nearly fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations, permutations

import numpy as np

from ..engine.operators import Array
from .facts import Evidence, Said, close, named_axes, named_factor, shapes_of, sizes_of, subsets
from .paths import of_eps, of_groups, of_mixing, of_paths, of_wrong_axes
from .structure import of_direction, of_parts, of_places, of_transposed_map, of_wrong_parts
from .terms import (
    of_added_terms,
    of_cotangent_sums,
    of_elementwise,
    of_other_inputs_factors,
    of_penalty,
    of_softmax,
)

Guess = Callable[[Evidence], Said]


def diagnose(points: Sequence[Evidence]) -> str:
    """Return what a gradient looks like: the first guess that holds at all points, or "" if none does."""
    if not points or sum(np.count_nonzero(e.mismatch) for e in points) < (2 if len(points) > 1 else 6):
        return ""
    for guess in GUESSES:
        common: list[str] | None = None
        for e in points:
            said = _said(guess, e)
            common = said if common is None else [words for words in common if words in said]
            if not common:
                break
        if common and guess is of_one_factor and len(common) > 1 and len({e.x.shape for e in points}) == 1:
            # If all points have one shape, a number may equal the size of an axis by chance.
            return f"{common[-1]} (perhaps: {common[0]})" if "the size of ax" in common[0] else common[0]
        if common:
            return common[0]
    return ""


def _said(guess: Guess, e: Evidence) -> list[str]:
    try:
        return [words for words, model in guess(e) if e.explained_by(model)]
    except Exception:  # from the user's functions, for inputs that the user did not give
        return []


def of_zero_or_sign(e: Evidence) -> Said:
    yield "it is zero everywhere: the path to this input is missing", 0 * e.want
    yield "it is the right gradient with its sign flipped", -e.want


def of_one_factor(e: Evidence) -> Said:
    """Guess one factor for all entries, named by the size of an axis or a scalar input, if one fits."""
    ratio = e.ratio
    if abs(ratio - 1) < 1e-4 or ratio == 0:
        return
    model, sign = ratio * e.want, ", with its sign flipped" if ratio < 0 else ""
    roots = [n for n in range(2, 65) if math.isqrt(n) ** 2 != n and abs(max(ratio**2, ratio**-2) - n) < 1e-5]
    root = f" ({'1 / ' if ratio**2 < 1 else ''}the square root of {roots[0]})" if roots else ""
    number = f"it is {abs(ratio):.4g} times the right gradient everywhere{root}{sign}"
    told = f"it is the right gradient{sign}, up to a constant factor: {{}}"
    yield from ((words, model) for words in named_factor(e, ratio, told, number))


def of_another_factor(e: Evidence) -> Said:
    """Guess one factor for all entries that differs from point to point, as with a wrong count or sum."""
    ratio = e.ratio
    if np.count_nonzero(e.want) > 2 and abs(ratio - 1) > 1e-4:
        for name, a in zip(e.subject.names, e.points, strict=False):
            total = float(a.sum()) if a.size > 1 else 0.0
            for of, n in sizes_of(e).items():
                for words, value in ((f"sum({name}) / n", total / n), (f"n / sum({name})", n / total if total else 0)):
                    if value and abs(ratio - value) < 1e-5 * value:
                        told = f"it is the right gradient times {words}, where n is {of}: divided by the wrong sum"
                        yield told, ratio * e.want
        words = "it is the right gradient times one factor, which differs from input to input: divided by the wrong sum"
        yield words, ratio * e.want


def of_swapped_gradients(e: Evidence) -> Said:
    for i, (name, shape) in enumerate(shapes_of(e)):
        if i != e.which and shape == e.x.shape and e.points[i].dtype.kind == "f":
            swapped = close(e.subject.gradients(e.points, e.g)[i], e.right_for(e.g))
            told = "the gradients of the two are swapped" if swapped else "a factor or a term is missing"
            yield f"it is the gradient of {name}: {told}", e.right(i)


def of_order(e: Evidence) -> Said:
    """Guess that entries are right, but in the wrong order: transposed, reshaped, reversed or shifted."""
    want, ndim = e.want, e.x.ndim
    for axes in permutations(range(ndim)):
        moved = want.transpose(0, *(a + 1 for a in axes))
        if axes == tuple(range(ndim)):
            continue
        if moved.shape == want.shape:
            swapped = named_axes([a for a in range(ndim) if axes[a] != a])
            yield f"it is the right gradient with {swapped} swapped: transposed", moved
        words = "its entries are in the wrong order, as when an array is reshaped instead of transposed"
        yield words, moved.reshape(want.shape)
    for axes in subsets(ndim):
        flipped = np.flip(want, tuple(a + 1 for a in axes))
        yield f"it is the right gradient reversed (flipped) along {named_axes(axes)}", flipped
        words = "except for the first entry, as when a Fourier transform is not transposed (conjugated)"
        rolled = np.roll(flipped, 1, tuple(a + 1 for a in axes))
        yield f"it is the right gradient reversed (flipped) along {named_axes(axes)}, {words}", rolled
        for by, words in ((1, "later"), (-1, "earlier")):
            shifted = np.roll(want, by, [a + 1 for a in axes])
            ends = [np.indices(e.x.shape)[a] == (0 if by > 0 else e.x.shape[a] - 1) for a in axes]
            inside = ~np.any(ends, axis=0)
            if min(e.x.shape[a] for a in axes) > 2 and np.count_nonzero(e.mismatch[:, inside]) > 3:
                told = f"it is the right gradient shifted by one position ({words}) along {named_axes(axes)}"
                yield told, np.where(inside, shifted, e.got)


def of_cotangent_order(e: Evidence) -> Said:
    """Guess that the cotangent was used transposed or reversed."""
    if not e.whole:
        return
    rows, got = (j.reshape(*e.g.shape, *e.x.shape) for j in (e.want, e.got))
    ndim, kept = e.g.ndim, range(e.g.ndim, e.g.ndim + e.x.ndim)
    for axes in permutations(range(ndim)):
        moved, other = rows.transpose(*axes, *kept), got.transpose(*axes, *kept)
        if axes != tuple(range(ndim)) and moved.shape == rows.shape:
            swapped = named_axes([a for a in range(ndim) if axes[a] != a])
            how = "the cotangent is used transposed"
            if e.x.ndim < ndim:
                how = "a sum of the cotangent runs over the wrong axis, as with a transposed cotangent"
            yield f"{how} ({swapped} swapped)", moved.reshape(e.want.shape)
            words = (
                "it is one of two terms: the term with the transposed cotangent (of a symmetric second use) is missing"
            )
            yield words, (rows - other).reshape(e.want.shape)
    for axes in subsets(ndim):
        flipped = np.flip(rows, axes).reshape(e.want.shape)
        yield f"the cotangent is used reversed (flipped) along {named_axes(axes)}", flipped


def of_other_forms(e: Evidence) -> Said:
    """Guess that an input was used in another form: transposed, flipped or negated, or two inputs swapped.

    Each of these changes undoes itself, so two things must hold: the gradient here is the right gradient there, and the
    gradient there is the right gradient here. For piecewise linear functions one of them may hold by luck.
    """
    for points, words in other_forms(e):
        there = replace(e, points=points)
        if _agree(e, there) and _agree(there, e):
            yield f"it is the right gradient for {words}", e.got
    for points, words in _simpler(e):
        if _agree(e, replace(e, points=points)):
            yield words, e.got


def _agree(one: Evidence, other: Evidence) -> bool:
    """Return whether the gradient at one point equals the right gradient at another."""
    try:
        return close(one.moved, other.right_moved, 1e-6)
    except Exception:
        return False


def _floats(e: Evidence) -> list[tuple[int, str, Array]]:
    named = zip(e.subject.names, e.points, strict=False)
    return [(i, name, a) for i, (name, a) in enumerate(named) if a.dtype.kind == "f"]


def _put(e: Evidence, i: int, altered: Array) -> tuple[Array, ...]:
    return (*e.points[:i], altered, *e.points[i + 1 :])


def other_forms(e: Evidence) -> Iterator[tuple[tuple[Array, ...], str]]:
    for i, name, a in _floats(e):
        for one, two in combinations(range(a.ndim), 2):
            if a.shape[one] == a.shape[two]:
                yield _put(e, i, a.swapaxes(one, two).copy()), f"{name} transposed (axes {one}, {two} swapped)"
        for axes in subsets(min(a.ndim, 4)):
            if all(a.shape[k] > 1 for k in axes):
                yield _put(e, i, np.flip(a, axes).copy()), f"{name} flipped (reversed) along {named_axes(axes)}"
        for j, other, b in _floats(e)[:i]:
            if b.shape == a.shape:
                points = _put(e, i, b)
                yield (*points[:j], a, *points[j + 1 :]), f"{other} and {name} swapped"
        if i != e.which:
            yield _put(e, i, -a), f"-{name} instead of {name}: its sign is wrong"


def _simpler(e: Evidence) -> Iterator[tuple[tuple[Array, ...], str]]:
    """Yield points where another input has no effect: a mask of True, a term of 0, a factor of 1."""
    for i, (name, a) in enumerate(zip(e.subject.names, e.points, strict=False)):
        if a.dtype.kind == "b":
            yield _put(e, i, np.ones_like(a)), f"it is the right gradient without the mask {name}: the mask is missing"
            yield _put(e, i, ~a), f"it is the right gradient for ~{name}: the mask is inverted"
        elif i != e.which:
            yield _put(e, i, 0 * a), f"it is the right gradient for {name} = 0: the path (term) with {name} is missing"
        if a.dtype.kind == "f" and i != e.which:
            yield _put(e, i, np.ones_like(a)), f"it is the right gradient for {name} = 1: the factor {name} is missing"


USES = (1 / 2, 1 / 3, 2 / 3)


def of_uses(e: Evidence) -> Said:
    """Guess that one of several uses of an input is left out.

    Along the input itself, each linear use contributes the same, so the share of the uses that count can be seen.
    """
    got, want = (np.tensordot(j, e.x, e.x.ndim) for j in (e.got, e.want))
    y = e.cotangents @ (e.y - e.subject.value(*_put(e, e.which, 0 * e.x))).ravel()
    shared = any(close(got, share * want, 1e-6) for share in USES)
    linear = not close(want, y) and (close(got, y, 1e-6) or close(want - got, y, 1e-6))
    mixes = np.count_nonzero(e.want.reshape(len(got), -1), axis=1).max() > 1
    if got.size >= 4 and got.any() and mixes and (shared or linear):
        words = f"it is the gradient of one use of {e.name} alone: another path (a term of the product rule) is missing"
        if np.abs(want).max() < 1e-9 * np.abs(y).max():
            words = "the path through its norm (its scale) is missing, as when the divisor is treated as a constant"
        yield words, e.got


def of_square_weights(e: Evidence) -> Said:
    """Guess that square weights w are not transposed: the mismatch at a unit is a combination of its rows of w - w.T.

    In a recurrent network this holds only for the first step, and for the gradient of the initial state.
    """
    for one in (replace(e, which=which) for which in e.subject.wrt):
        n = one.x.shape[-1] if one.x.ndim else 0
        ws = {name: a - a.T for i, name, a in _floats(e) if i != one.which and a.shape == (n, n)}
        if 0 < len(ws) < n and one.whole and e.g.shape[-1:] == (n,) and one.shows():
            wrong = one.mismatch.reshape(-1, n, one.x.size // n, n)
            holds = np.abs(wrong).max((1, 2, 3)) > 1e-6 * np.abs(wrong).max()
            for unit in range(n):
                basis = np.stack([w[unit] for w in ws.values()])
                left = wrong[:, unit] - wrong[:, unit] @ np.linalg.pinv(basis) @ basis
                holds &= np.abs(left).max((1, 2)) <= 1e-6 * np.abs(wrong).max()
            if holds.sum() > 2:
                yield f"the weights {', '.join(ws)} are not transposed", e.got


def of_no_dependence(e: Evidence) -> Said:
    """Guess that a nonlinearity is left out: the right gradient changes with an input, but the gradient does not."""
    moved = replace(e, points=_put(e, e.which, e.x * np.random.default_rng(2).uniform(0.3, 1.7, e.x.shape)))
    if close(moved.got, e.got, 1e-9) and not close(moved.right_moved, e.right_moved, 1e-3):
        words = f"it does not change with {e.name}, but the right gradient does: a factor "
        yield f"{words}(a local derivative, a mask) is missing", e.got


GUESSES: tuple[Guess, ...] = (
    of_zero_or_sign,
    of_one_factor,
    of_swapped_gradients,
    of_order,
    of_other_inputs_factors,
    of_parts,
    of_penalty,
    of_other_forms,
    of_transposed_map,
    of_another_factor,
    of_cotangent_order,
    of_places,
    of_square_weights,
    of_paths,
    of_softmax,
    of_direction,
    of_mixing,
    of_wrong_parts,
    of_elementwise,
    of_uses,
    of_eps,
    of_groups,
    of_wrong_axes,
    of_cotangent_sums,
    of_added_terms,
    of_no_dependence,
)
